//! Help, suggestions, manual pages and completion, as people and their shells meet them.

use std::collections::BTreeSet;

use super::world::{Done, Process, World, eventually, exists};

const SHELLS: [&str; 5] = ["bash", "elvish", "fish", "powershell", "zsh"];

/// What a shell is offered for the last of these words.
fn offered(world: &World, shell: &str, words: &[&str]) -> Vec<String> {
    let mut command = world.moot(&["--"]);
    command.args(words).env("MOOT_COMPLETE", shell);
    command.env("_CLAP_COMPLETE_INDEX", (words.len() - 1).to_string()).env("_CLAP_IFS", "\n");
    let done = Done::of(command, None).ok();
    assert_eq!(done.err, "", "{words:?}");
    done.out.lines().map(|line| line.split(['\t']).next().unwrap().to_owned()).collect()
}

/// Names of the commands that help shows, with the headings over them.
fn commands_in(help: &str) -> Vec<(String, String)> {
    let mut heading = String::new();
    let mut found = Vec::new();
    for line in help.lines() {
        if let Some(text) = line.strip_suffix(':') {
            heading = text.to_owned();
        } else if line.starts_with("  ") && !line.starts_with("   ") && !heading.is_empty() {
            found.push((heading.clone(), line.split_whitespace().next().unwrap().to_owned()));
        }
    }
    found
}

#[test]
fn help_groups_every_command_and_fits_the_terminal() {
    let world = World::new();
    let help = world.run(&["help"]).ok().out;
    assert_eq!(help, world.run(&["--help"]).ok().out);
    assert!(help.lines().all(|line| line.chars().count() <= 80), "{help}");
    let shown = commands_in(&help);
    let under = |command: &str| {
        let found: Vec<_> = shown.iter().filter(|(_, name)| name == command).collect();
        assert_eq!(found.len(), 1, "{command}: {found:?}");
        found[0].0.clone()
    };
    assert_eq!(under("send"), "Talk");
    assert_eq!(under("serve"), "The server");
    assert_eq!(under("help"), "Help");
    // Completion has the commands from their definitions.
    for command in offered(&world, "bash", &["moot", ""]) {
        under(&command);
    }
}

#[test]
fn help_of_a_command_has_its_flags_and_examples() {
    let world = World::new();
    let help = world.run(&["help", "send"]).ok().out;
    assert_eq!(help, world.run(&["send", "--help"]).ok().out);
    for part in [" send [OPTIONS] <TARGET> [TEXT]...\n", "--require <N>", "Examples:\n  moot send "]
    {
        assert!(help.contains(part), "{part}: {help}");
    }
    let inner = world.run(&["room", "topic", "--help"]).ok().out;
    assert!(inner.contains("Examples:\n  moot room topic "), "{inner}");
}

#[test]
fn mistyped_command_gets_a_suggestion_and_does_nothing() {
    let world = World::new();
    for (typed, meant) in [
        ("sned", "send"),
        ("say", "send"),
        ("chat", "join"),
        ("tail", "listen"),
        ("ls", "rooms"),
        ("users", "who"),
        ("w", "who"),
        ("log", "history"),
        ("wall", "announce"),
        ("start", "serve"),
        ("quit", "stop"),
        ("invite", "room invite"),
    ] {
        let done = world.run(&[typed, "lobby", "hi"]).exits(2);
        assert!(done.err.contains(&format!("'{meant}'")), "{typed}: {}", done.err);
        assert_eq!(done.out, "");
    }
    assert!(world.run(&["nonsense"]).exits(2).err.contains("unrecognized subcommand 'nonsense'"));
    assert!(world.run(&["send", "--requre", "1", "dev"]).exits(2).err.contains("'--require'"));
    assert!(world.run(&["room", "crate", "dev"]).exits(2).err.contains("'create'"));
    let done = world.run(&["--json", "say", "lobby", "hi"]).exits(2);
    let error: serde_json::Value = serde_json::from_str(done.err.trim_end()).unwrap();
    assert_eq!((&error["type"], &error["code"]), (&"error".into(), &2.into()));
    assert!(error["text"].as_str().unwrap().contains("'send'"), "{error}");
    world.run(&["who"]).exits(3);
}

#[test]
fn each_shell_has_a_script_that_calls_the_program_in_the_path() {
    let world = World::new();
    for shell in SHELLS {
        let script = world.run(&["completions", shell]).ok().out;
        assert!(script.contains("MOOT_COMPLETE"), "{shell}: {script}");
        assert!(!script.contains("target/") && !script.contains("/moot"), "{shell}: {script}");
        for name in ["COMPLETER", "VARIABLE", "NAME", "BIN"] {
            assert!(!script.contains(name), "{shell}: {name} stands still in {script}");
        }
    }
    let zsh = world.run(&["completions", "zsh"]).ok().out;
    assert!(zsh.starts_with("#compdef moot\n") && zsh.contains("loadautofunc"), "{zsh}");
    world.run(&["completions", "tcsh"]).exits(2);
}

#[test]
fn nothing_is_offered_and_nothing_said_where_there_is_no_server() {
    let world = World::new();
    for shell in SHELLS {
        for words in
            [&["moot", "send", ""][..], &["moot", "listen", "--from", "@"], &["moot", "join", "d"]]
        {
            assert_eq!(offered(&world, shell, words), [""; 0], "{shell} {words:?}");
        }
    }
    assert_eq!(offered(&world, "tcsh", &["moot", "send", ""]), [""; 0]);
    world.run(&["who"]).exits(3);
}

#[test]
fn rooms_and_members_are_completed_from_the_table() {
    let world = World::new();
    let server = world.serve();
    let _member = world.listen(&["--as", "ci", "dev", "회의", "build"]);
    let user = world.who(&[]).0[0]["user"].as_str().unwrap().to_owned();
    let (at, label) = (&*format!("@{user}"), &*format!("@{user}/ci"));
    let all = |words: &[&str]| offered(&world, "bash", words);
    assert_eq!(all(&["moot", "send", ""]), [at, label, "build", "dev", "회의"]);
    assert_eq!(all(&["moot", "send", "회"]), ["회의"]);
    assert_eq!(all(&["moot", "listen", "dev", "@"]), [at], "a conversation has no label");
    assert_eq!(all(&["moot", "listen", "--from", "@"]), [at]);
    assert_eq!(all(&["moot", "kick", "@"]), [at, label]);
    assert_eq!(all(&["moot", "room", "kick", "d"]), ["dev"]);
    assert_eq!(all(&["moot", "room", "kick", "dev", "@"]), [at, label]);
    assert_eq!(all(&["moot", "who", "b"]), ["build"]);
    assert_eq!(all(&["moot", "room", "create", ""]), [""; 0], "its name is a new one");
    assert_eq!(all(&["moot", "send", &format!("user:{user}/")]), [format!("user:{user}/ci")]);
    assert_eq!(all(&["moot", "join", "--kind", "s"]), ["script", "service"]);
    assert_eq!(all(&["moot", "send", "--req"]), ["--require"]);
    // What the line says of the server counts before what the environment says.
    let elsewhere = world.path("nothing/");
    let elsewhere = elsewhere.to_str().unwrap();
    assert_eq!(all(&["moot", "--server", elsewhere, "send", "d"]), [""; 0]);
    let here = format!("--server={}", world.dir.display());
    let mut command = world.moot(&["--", "moot", &here, "send", "d"]);
    command.env("MOOT_COMPLETE", "fish").env("MOOT_SERVER", elsewhere);
    assert_eq!(Done::of(command, None).ok().out, "dev\n");
    // A word that begins with @ is something else in PowerShell.
    assert_eq!(
        offered(&world, "powershell", &["moot", "send", "u"]),
        [format!("user:{user}"), format!("user:{user}/ci")]
    );
    server.signal("STOP");
    assert_eq!(all(&["moot", "send", "de"]), ["dev"], "a server that hangs is not asked");
    server.signal("CONT");
}

#[test]
fn completions_are_bounded() {
    let world = World::new();
    let _server = world.serve();
    let rooms: Vec<String> = (0..300).map(|n| format!("r{n}")).collect();
    let rooms: Vec<&str> = rooms.iter().map(String::as_str).collect();
    let _members: Vec<_> = rooms.chunks(40).map(|some| world.listen(some)).collect();
    assert_eq!(offered(&world, "zsh", &["moot", "send", "r"]).len(), 256);
}

#[test]
fn names_of_own_servers_are_completed() {
    let world = World::new();
    // Where it lies says the server itself.
    let mut serve = world.moot(&["--server", "workshop", "serve"]);
    serve.env("XDG_STATE_HOME", world.path("state")).env("LOCALAPPDATA", world.path("state"));
    let mut server = Process::spawn(serve);
    assert!(server.line("the server's first line").starts_with("listening on "));
    let mut command = world.moot(&["--", "moot", "--server", "w"]);
    command.env("XDG_STATE_HOME", world.path("state")).env("LOCALAPPDATA", world.path("state"));
    command.env("MOOT_COMPLETE", "fish");
    assert_eq!(Done::of(command, None).ok().out, "workshop\n");
}

/// A world with a server, a member `ci` in the rooms `dev` and `ops`, an announcement, a message, and
/// `moot` in `bin`.
#[cfg(unix)]
fn completing() -> (World, Vec<Process>) {
    let world = World::new();
    let server = world.serve();
    let member = world.listen(&["--as", "ci", "dev", "ops"]);
    world.run(&["announce", "news"]).ok();
    world.run(&["send", "dev", "hi"]).ok();
    std::fs::create_dir(world.path("bin")).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_moot"), world.path("bin/moot")).unwrap();
    for (shell, file) in [("bash", "moot.bash"), ("fish", "moot.fish"), ("zsh", "_moot")] {
        let script = world.run(&["completions", shell]).ok().out;
        std::fs::write(world.path(file), script).unwrap();
    }
    (world, vec![member, server])
}

/// Lines as they are typed, with the one word that each shell makes of the last one.
#[cfg(unix)]
const COMPLETED: [(&str, &str); 13] = [
    ("moot annou", "announce"),
    ("moot room crea", "create"),
    ("moot send de", "dev"),
    ("moot listen ops d", "dev"),
    ("moot send --requi", "--require"),
    ("moot join --kind serv", "service"),
    ("moot notices show 1", "1"),
    ("moot man annou", "announce"),
    ("moot drop ", "1"),
    ("moot send dev --reply-to dev", "dev:1"),
    ("moot run dev -- moo", "moot"),
    ("moot run dev -- cat ./only", "./only-file"),
    ("moot listen dev --exec moo", "moot"),
];

/// A real shell that runs a script in this world; none if it is not installed.
#[cfg(unix)]
fn shell(world: &World, shell: &str, args: &[&str]) -> Option<Done> {
    let mut command = std::process::Command::new(shell);
    if command.arg("--version").output().is_err() {
        super::world::skipped(&format!("{shell} is not installed"));
        return None;
    }
    std::fs::write(world.path("only-file"), "").unwrap();
    let mut command = std::process::Command::new(shell);
    command.args(args).env_clear().env("LC_ALL", "C.UTF-8").env("HOME", world.path(""));
    // Only what the tests know is in the path of the programs that are offered.
    command.env("PATH", format!("{}:/usr/bin:/bin", world.path("bin").display()));
    command.env("MOOT_SERVER", &world.dir).env("TERM", "dumb").current_dir(world.path(""));
    command.stdin(std::process::Stdio::null());
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    Some(Done::of(command, None).ok())
}

#[cfg(unix)]
#[test]
fn fish_completes_each_kind_of_word() {
    let (world, _processes) = completing();
    for (line, word) in COMPLETED {
        let script = format!("source moot.fish; complete -C {line:?}");
        let Some(done) = shell(&world, "fish", &["--no-config", "-c", &script]) else { return };
        let words = done.out.lines().map(|line| line.split('\t').next().unwrap());
        assert!(words.collect::<Vec<_>>().contains(&word), "{line}: {}{}", done.out, done.err);
    }
    let script = "source moot.fish; complete -C 'moot send --as '; complete -C 'moot --as x'";
    let Some(done) = shell(&world, "fish", &["--no-config", "-c", script]) else { return };
    assert_eq!(done.out, "", "a label is a new one");
    let script = "source moot.fish; complete -C 'moot notices show '";
    let Some(done) = shell(&world, "fish", &["--no-config", "-c", script]) else { return };
    assert_eq!(done.out, "!1\n");
}

#[cfg(unix)]
#[test]
fn zsh_completes_each_kind_of_word() {
    let (world, _processes) = completing();
    // Types each line and Tab in a terminal, and then a key that shows what the line is by then. The first ones may
    // come before the shell reads keys, so each is typed until something is completed.
    let setup = r#"
        PS1= PROMPT= RPROMPT=
        fpath=($PWD $fpath)
        autoload -U compinit
        compinit -D -u
        zstyle ':completion:*' verbose no
        setopt no_auto_menu no_bang_hist
        report() { print -r -- "<[$BUFFER]>"; BUFFER=; zle -I }
        zle -N report
        bindkey '^X' report
        print ready
    "#;
    std::fs::write(world.path("setup.zsh"), setup).unwrap();
    let script = r#"
        zmodload zsh/zpty
        zpty z zsh -f -i
        zpty -w z 'source ./setup.zsh'
        zpty -r z out '*ready*'
        for line in "$@"; do
            for attempt in {1..20}; do
                zpty -w -n z "$line"$'\t'$'\x18'
                zpty -r z out '*\]>*'
                out=${${out##*<\[}%%\]>*}
                [[ $out == "$line" ]] || break
                sleep .1
            done
            print -r -- "$out"
        done
    "#;
    // A word that is complete stays as it is.
    let all = || COMPLETED.into_iter().filter(|(line, word)| !line.ends_with(&format!(" {word}")));
    let mut args = vec!["-f", "-c", script, "zsh"];
    args.extend(all().map(|(line, _)| line));
    let Some(done) = shell(&world, "zsh", &args) else { return };
    let got: Vec<_> = done.out.lines().map(str::trim_end).collect();
    let wanted: Vec<_> =
        all().map(|(line, word)| format!("{} {word}", line.rsplit_once(' ').unwrap().0)).collect();
    assert_eq!(got, wanted, "{}", done.err);
}

#[cfg(unix)]
#[test]
fn bash_completes_each_kind_of_word() {
    let (world, _processes) = completing();
    for (line, word) in COMPLETED {
        let words: Vec<_> = line.split(' ').collect();
        let script = r#"
            source ./moot.bash
            COMP_LINE=$1 COMP_POINT=${#1}
            shift
            COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
            _moot moot "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
            printf '%s\n' "${COMPREPLY[@]}"
        "#;
        let mut args = vec!["--norc", "-c", script, "bash", line];
        args.extend(words);
        let Some(done) = shell(&world, "bash", &args) else { return };
        assert!(done.out.lines().any(|line| line == word), "{line}: {}{}", done.out, done.err);
    }
}

// A POSIX program.
#[cfg(unix)]
#[test]
fn bash_completes_words_that_it_divides_itself() {
    let world = World::new();
    let _server = world.serve();
    let _member = world.listen(&["--as", "ci", "dev", "회의"]);
    let user = world.who(&[]).0[0]["user"].as_str().unwrap().to_owned();
    let bin = world.path("bin");
    std::fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_moot"), bin.join("moot")).unwrap();
    let script = world.run(&["completions", "bash"]).ok().out;
    std::fs::write(world.path("moot.bash"), script).unwrap();
    // The line, the words that bash makes of it, and what it asks to be completed (seen with bash 5.2).
    let here = world.dir.display().to_string();
    let server_word = format!("\"{here}\"");
    let replies = |line: &str, words: &[&str], current: &str| {
        let program = r#"
            source ./moot.bash || exit 9
            COMP_LINE=$1 COMP_POINT=${#1} current=$2
            shift 2
            COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
            _moot moot "$current" "${COMP_WORDS[COMP_CWORD - 1]}" || exit 8
            printf '%s\n' "${COMPREPLY[@]}"
        "#;
        let mut bash = std::process::Command::new("bash");
        let path = format!("{}:/usr/bin:/bin", bin.display());
        bash.args(["--norc", "-c", program, "bash", line, current]).args(words);
        bash.env_clear().env("PATH", path).env("LC_ALL", "C.UTF-8").env("HOME", world.path(""));
        bash.env("MOOT_SERVER", &world.dir).current_dir(world.path(""));
        bash.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let done = Done::of(bash, None).ok();
        assert_eq!(done.err, "", "{line}");
        done.out.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let label = format!("@{user}/ci");
    let typed = format!("{user}/c");
    let at = format!("@{typed}");
    assert_eq!(replies(&format!("moot send {at}"), &["moot", "send", "@", &typed], &at), [&*label]);
    assert_eq!(
        replies(&format!("moot send '{at}"), &["moot", "send", &format!("'{at}")], &at),
        [&*label]
    );
    let line = format!("moot send user:{typed}");
    let words = ["moot", "send", "user", ":", &typed];
    assert_eq!(
        replies(&line, &words, &typed),
        [format!("{user}/ci")],
        "what stands before : stays"
    );
    assert_eq!(replies("moot send 회", &["moot", "send", "회"], "회"), ["회의"]);
    assert_eq!(replies("moot  listen dev ", &["moot", "listen", "dev", ""], "").len(), 3);
    assert_eq!(replies("moot --color=al", &["moot", "--color", "=", "al"], "al"), ["always"]);
    let line = format!("moot --server {server_word} send d");
    assert_eq!(replies(&line, &["moot", "--server", &server_word, "send", "d"], "d"), ["dev"]);
    assert_eq!(
        replies(
            "moot --server=/none/ send d",
            &["moot", "--server", "=", "/none/", "send", "d"],
            "d"
        ),
        [""]
    );
    // A file may have any name, and is quoted.
    std::fs::write(world.path("bad $(touch x); name"), "").unwrap();
    let replied = replies("moot --config bad", &["moot", "--config", "bad"], "bad");
    assert_eq!(replied, [r"bad\ \$\(touch\ x\)\;\ name"]);
}

/// Names of all pages, from a directory of them.
fn pages(world: &World) -> BTreeSet<String> {
    let dir = world.path("man");
    let done = world.run(&["man", "--dir", dir.to_str().unwrap()]).ok();
    assert_eq!(done.out, "");
    let names = std::fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name());
    names.map(|name| name.into_string().unwrap()).collect()
}

#[test]
fn each_command_has_a_page_with_its_examples() {
    let world = World::new();
    let pages = pages(&world);
    for command in offered(&world, "bash", &["moot", ""]).iter().filter(|name| *name != "help") {
        assert!(pages.contains(&format!("moot-{command}.1")), "{command}: {pages:?}");
    }
    for page in ["moot.1", "moot-room-create.1", "moot-notices-ack.1"] {
        assert!(pages.contains(page), "{page}: {pages:?}");
    }
    for page in pages.iter().filter(|page| page.ends_with(".1")) {
        let text = std::fs::read_to_string(world.path("man").join(page)).unwrap();
        let count = |heading: &str| text.matches(&format!("\n.SH {heading}\n")).count();
        for heading in ["NAME", "SYNOPSIS", "EXAMPLES", "\"EXIT STATUS\"", "\"SEE ALSO\""] {
            assert_eq!(count(heading), 1, "{page}: {heading}");
        }
        for heading in ["ENVIRONMENT", "FILES"] {
            assert_eq!(count(heading), usize::from(page == "moot.1"), "{page}: {heading}");
        }
        let is_of_command = text.contains("the command can't be executed");
        let is_of_command = is_of_command || text.contains("the command can\\*(Aqt be executed");
        assert_eq!(is_of_command, page == "moot-run.1", "{page}");
        assert_eq!(text.contains("not to as many as required"), page != "moot-run.1", "{page}");
        assert!(!text.contains(r"\-\-detached") && !text.contains(r"\-\-as\-member"), "{page}");
    }
    let one = world.run(&["man", "room", "create"]).ok().out;
    assert_eq!(one, std::fs::read_to_string(world.path("man/moot-room-create.1")).unwrap());
    let top = world.run(&["man"]).ok().out;
    assert_eq!(top, std::fs::read_to_string(world.path("man/moot.1")).unwrap());
    world.run(&["man", "nonsense"]).exits(2);
}

/// The text of a page, with the arguments of its headings.
fn plain(page: &str) -> String {
    let mut text = String::new();
    for line in page.lines().skip_while(|line| *line != ".SH DESCRIPTION") {
        let line = match line.strip_prefix('.') {
            Some(control) => control.split_once("SH ").map_or("", |(_, heading)| heading),
            None => line,
        };
        let line = line.replace("\\fB", "").replace("\\fR", "").replace("\\*(Aq", "'");
        let line = line.replace("\\&", "").replace("\\-", "-").replace("\\\\", "\\");
        text.push_str(&line);
        text.push('\n');
    }
    text
}

#[test]
fn configuration_page_has_the_words_of_the_sample() {
    let world = World::new();
    let page = world.run(&["man", "moot.toml"]).ok().out;
    assert!(page.contains(".TH \"MOOT.TOML\" \"5\""), "{page}");
    let page = plain(&page);
    let (page, others) = page.split_once("SEE ALSO").unwrap();
    assert!(others.contains("moot-serve(1)"), "{others}");
    let sample = include_str!("../../config/moot.toml");
    let words = |text: &str| -> BTreeSet<String> {
        text.split_whitespace().map(|word| word.trim_matches('"').to_owned()).collect()
    };
    let (mut shown, mut written) = (words(page), words(sample));
    shown.remove("DESCRIPTION");
    written.remove("#");
    assert_eq!(shown, written);
    let settings: Vec<_> =
        sample.lines().filter(|l| !l.is_empty() && !l.starts_with(['#', '['])).collect();
    assert!(settings.len() > 20);
    for setting in settings {
        assert_eq!(page.lines().filter(|line| *line == setting).count(), 1, "{setting}");
    }
}

#[test]
fn keys_page_has_the_lines_of_the_help() {
    let world = World::new();
    let _server = world.serve();
    let page = plain(&world.run(&["man", "keys"]).ok().out);
    assert_eq!(page, plain(&world.run(&["man", "moot-keys"]).ok().out));
    let help = world.run_with_input(&["join", "--plain", "dev"], b"/help\n/help announce\n").ok();
    let help = format!("{}{}", help.out, help.err);
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (page, help) = (words(&page), words(&help));
    let commands: Vec<_> = help.split(" /").skip(1).collect();
    assert!(commands.len() > 15, "{help}");
    for command in ["/join ROOM", "/topic [TEXT|--clear]", "/quit", "/search [TEXT]", "//TEXT"] {
        assert!(page.contains(command), "{command}: {page}");
    }
    for command in commands {
        let name = command.split([' ', ':']).next().unwrap();
        assert!(page.contains(&format!("/{name}")), "{name}: {page}");
    }
    let (_, announce) = help.split_once("TEXT: ").unwrap();
    let (announce, _) = announce.split_once(" later members").unwrap();
    assert!(page.contains(announce), "{announce}: {page}");
    for key in ["Enter", "Alt-Enter", "Ctrl-R", "F1", "Alt-1 … Alt-0", "F8, Alt-K"] {
        assert!(page.contains(key), "{key}: {page}");
    }
}

#[test]
fn pages_of_other_sections_go_beside_a_man1() {
    let world = World::new();
    let dir = world.path("share/man/man1");
    world.run(&["man", "--dir", dir.to_str().unwrap()]).ok();
    for page in ["man1/moot.1", "man1/moot-join.1", "man5/moot.toml.5", "man7/moot-keys.7"] {
        assert!(exists(&world.path("share/man").join(page)), "{page}");
    }
    let names = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(names.into_iter().all(|name| name.to_str().unwrap().ends_with(".1")));
    for (words, other) in [
        (&["man"][..], "keys(7)"),
        (&["man"], "toml(5)"),
        (&["man", "serve"], "toml(5)"),
        (&["man", "join"], "keys(7)"),
    ] {
        let text = world.run(words).ok().out;
        let (_, others) = text.split_once("\"SEE ALSO\"").unwrap();
        let others = others.replace("\\fR", "");
        let others = others.replace("\\-", "-");
        assert!(others.contains(other), "{words:?}: {others}");
    }
}

#[test]
fn sessions_and_message_ids_are_completed() {
    let world = World::new();
    let server = world.serve();
    let _member = world.listen(&["--as", "ci", "dev"]);
    let session = world.who(&[]).0[0]["session"].as_u64().unwrap().to_string();
    let all = |words: &[&str]| offered(&world, "fish", words);
    assert_eq!(all(&["moot", "drop", ""]), [&*session]);
    assert_eq!(all(&["moot", "drop", "x"]), [""; 0]);
    let texts: String = (1..=30).map(|n| format!("{n}\n")).collect();
    world.run_with_input(&["send", "dev", "--lines"], texts.as_bytes()).ok();
    world.run(&["send", "회의", "one"]).ok();
    let newest: Vec<_> = (11..=30).rev().map(|n| format!("dev:{n}")).collect();
    assert_eq!(all(&["moot", "send", "dev", "--reply-to", ""]), newest);
    for line in [
        &["moot", "send", "dev", "--reply-to", "dev:1"][..],
        &["moot", "--as", "x", "send", "--require", "1", "dev", "--reply-to", "dev:1"],
        &["moot", "send", "--lines", "dev", "--reply-to", "dev:1"],
        &["moot", "history", "dev", "--before", "dev:1"],
    ] {
        assert_eq!(all(line).len(), 9, "{line:?}");
    }
    assert_eq!(all(&["moot", "send", "회의", "--reply-to", ""]), ["회의:1"]);
    for line in
        [&["moot", "send", "--reply-to", ""][..], &["moot", "send", "none", "--reply-to", ""]]
    {
        assert_eq!(all(line), [""; 0], "{line:?}");
    }
    server.signal("STOP");
    assert_eq!(all(&["moot", "send", "dev", "--reply-to", ""]), [""; 0], "a server that hangs");
    assert_eq!(all(&["moot", "drop", ""]), [&*session]);
    server.signal("CONT");
}

// A POSIX program.
#[cfg(unix)]
#[test]
fn man_shows_each_page_without_a_warning() {
    let world = World::new();
    let man = |args: &[&str]| {
        let mut command = std::process::Command::new("man");
        command.args(args).env_clear().env("PATH", "/usr/bin:/bin").env("HOME", world.path(""));
        command.env("LC_ALL", "C.UTF-8").env("MANWIDTH", "80").env("MANROFFOPT", "-ww");
        command.stdin(std::process::Stdio::null());
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        command
    };
    if man(&["--version"]).output().is_err() {
        super::world::skipped("`man` is missing: pages were not shown");
        return;
    }
    for page in pages(&world) {
        let path = world.path("man").join(&page);
        let done =
            Done::of(man(&["--warnings", "-E", "UTF-8", "-l", path.to_str().unwrap()]), None).ok();
        assert_eq!(done.err, "", "{page}");
        if !page.ends_with(".1") {
            continue;
        }
        let words: Vec<_> = page.trim_end_matches(".1").split('-').skip(1).collect();
        let mut help: Vec<_> = vec!["help"];
        help.extend(words);
        let help = world.run(&help).ok().out;
        let (_, examples) = help.split_once("Examples:\n").unwrap();
        for line in examples.lines().take_while(|line| line.starts_with("  ")) {
            assert!(done.out.contains(line.trim()), "{page}: {line}\n{}", done.out);
        }
    }
}

#[test]
fn empty_completion_variable_does_not_disturb_a_command() {
    let world = World::new();
    let _server = world.serve();
    let mut command = world.moot(&["send", "dev", "hi"]);
    command.env("MOOT_COMPLETE", "");
    Done::of(command, None).ok();
    eventually("the message", || world.run(&["history", "dev"]).out.contains("hi"));
}
