//! The first minute of the README, as it is written: in a fresh account, in a container, over a logout.

use crate::{host::alone, world::Done};

/// Runs the README's lines by `$as`, which is a user with nothing but HOME and PATH.
const FUNCTIONS: &str = r#"
    account() { as="setpriv --reuid $1 --regid $1 --clear-groups env -i HOME=$2 PATH=$HOME:/usr/bin:/bin"; }
    open_screen() {
        rm -f "$HOME/keys" "$HOME/screen"; mkfifo -m 666 "$HOME/keys"
        : >"$HOME/screen"; chmod 666 "$HOME/screen"
        $as TERM=xterm script -qfec 'stty cols 80 rows 24; exec moot join' "$HOME/screen" \
            <"$HOME/keys" >/dev/null 2>&1 & screen=$!
        exec 3>"$HOME/keys"
        shown connected
    }
    # Ctrl-L draws all of it: else what was there before is left out.
    drawn() { printf '\014' >&3; grep -aq -- "$1" "$HOME/screen"; }
    shown() { until_ok drawn "$1"; }
    listens() {
        rm -f "$HOME/heard" # or the words of an earlier listener are found there
        $as moot listen lobby >"$HOME/heard" 2>&1 & listener=$!
        until_ok grep -q connected "$HOME/heard"
        exits 0 $as moot send lobby 'one more'
        until_ok grep -q 'one more' "$HOME/heard"
    }
    leave() {
        kill $listener; wait $listener
        printf '\004' >&3; exec 3>&-
        wait $screen || fail "the screen ended with $?"
    }
    seen() { shown there; shown coffee; until_ok grep -q coffee "$HOME/heard"; }
"#;

/// The lines of the README as a function of bash, `minute`, and the last one, which ends the server, as `end`.
fn minute() -> String {
    let readme = include_str!("../../README.md");
    let (_, section) = readme.split_once("\n## The first minute\n").unwrap();
    let (_, block) = section.split_once("```sh\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let lines = block.lines().map(|line| line.split('#').next().unwrap().trim_end());
    let mut lines: Vec<_> = lines.collect();
    assert!(lines.contains(&"moot join") && lines.contains(&"moot listen lobby"), "{lines:?}");
    let last = lines.pop().unwrap();
    assert_eq!(last, "moot stop");
    let lines = lines.iter().map(|line| match *line {
        "moot join" => "open_screen".to_owned(),
        "moot listen lobby" => "listens".to_owned(),
        line => format!("exits 0 $as {line}"),
    });
    let lines = lines.collect::<Vec<_>>().join("\n");
    format!("{FUNCTIONS}\nminute() {{\n{lines}\nseen\n}}\nend() {{ exits 0 $as {last}; }}\n")
}

fn passes(unshare: &[&str], script: &str) {
    let done = alone(unshare, &format!("{}\n{script}", minute()));
    if let Some(Done { out, err, .. }) = done {
        assert!(out.contains("passed"), "{out}{err}");
    }
}

#[test]
fn first_minute_works_in_a_fresh_account() {
    passes(
        &[],
        r#"
        for uid in 65534 12347; do
            home="$HOME/home$uid"; mkdir -m 700 "$home"; chown $uid:$uid "$home"
            account $uid "$home"
            exits 3 $as moot who
            minute
            exits 0 $as moot doctor
            leave; end
            exits 3 $as moot who
        done
        echo passed
        "#,
    );
}

#[test]
fn first_minute_works_again_after_a_logout() {
    passes(
        &[],
        r#"
        home="$HOME/home"; mkdir -m 700 "$home"; chown 65534:65534 "$home"
        run=/run/user/65534; login() { install -d -m 700 -o 65534 -g 65534 $run; }
        account 65534 "$home"; as="$as XDG_RUNTIME_DIR=$run"
        server() { $as moot status --json | sed 's/.*"pid":\([0-9]*\).*/\1/'; }
        mkdir -p /run/user; login; minute; leave; first=$(server)
        for round in 1 2; do
            rm -rf $run; login
            minute; leave
            exits 0 $as moot who
            test "$(server)" = "$first" || fail "another server: $(server), not $first"
        done
        # A member that stays over the logout (in tmux, say) sees messages from after it.
        minute
        rm -rf $run; login
        exits 0 $as moot send lobby afterwards
        shown afterwards; until_ok grep -q afterwards "$HOME/heard"
        exits 0 $as moot who --count; says '^2$'
        leave; end; echo passed
        "#,
    );
}

#[test]
fn first_minute_works_with_the_server_as_first_process() {
    passes(
        &["--pid", "--fork", "--mount-proc"],
        r#"
        home="$HOME/root"; mkdir -m 700 "$home"; account 0 "$home"
        # All other processes of the container are killed when the server has ended.
        ( ( until_ok $as moot status; minute; leave; exits 0 $as moot doctor; echo passed ); end ) &
        exec $as moot serve
        "#,
    );
}

#[test]
fn first_minute_with_read_only_home_needs_a_named_directory() {
    passes(
        &["--pid", "--fork", "--mount-proc"],
        r#"
        home="$HOME/root"; mkdir "$home" "$HOME/data"; mount -t tmpfs -o ro tmpfs "$home" || exit 77
        account 0 "$home"
        for command in "send lobby x" "join --plain" "listen lobby" serve; do
            test "$command" = serve && code=1 || code=3
            exits $code $as moot $command
            says "root/.local/state/moot"; says "Read-only"; says "--server DIR/"
        done
        exits 1 $as moot doctor; says "problems 1"
        grep -q "is created when" "$HOME/out" && fail "doctor promises a directory that can't be created"
        as="$as MOOT_SERVER=$HOME/data/"
        minute; leave; end; echo passed
        "#,
    );
}
