//! Examples of each command, for help and manual pages. A test runs them word for word
//! (`tests/program/examples.rs`).

/// Lines for a shell, by command; a remark follows as a comment of the shell.
pub(super) const EXAMPLES: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "moot join                          # chat in lobby; starts your server",
            "make 2>&1 | moot send build --lines",
            "moot announce --require all 'reboot at 18:00'",
            "moot who",
        ],
    ),
    (
        "join",
        &[
            "moot join                          # the screen, in room lobby; F1 for help",
            "moot join dev ops --last 50        # dev is shown, or gets the input lines",
            "moot join --plain dev              # lines instead of the screen",
            "moot join jobs --will 'the runner on node 7 is gone'",
            "printf '%s\\n' hello /quit | moot join dev",
        ],
    ),
    (
        "send",
        &[
            "moot send dev 'build ok'",
            "git log -1 | moot send dev         # standard input is one message",
            "moot send @ann/ci -- -v            # a direct message that begins with a dash",
            "tail -F app.log | moot send ops --lines",
            "moot send ci 'ready' --require 1   # exit code 6 if no other session is there",
        ],
    ),
    (
        "listen",
        &[
            "moot listen dev",
            "moot listen @                      # messages to you",
            "moot listen @ann                   # the conversation with ann",
            "moot listen ci --json --count 1 --match 'build (ok|failed)'",
            "moot listen dev --since dev:1      # continue after that message",
            "moot listen --announcements --level warning",
            "moot listen ci --exec ./backup.sh  # for each message, in order",
        ],
    ),
    (
        "history",
        &[
            "moot history dev --last 20",
            "moot history dev --since 2h",
            "moot history --json dev > dev.jsonl   # all messages, as JSON",
        ],
    ),
    (
        "export",
        &[
            "moot export dev > dev.jsonl",
            "moot export --all > moot.jsonl     # rooms, conversations and announcements",
        ],
    ),
    (
        "backup",
        &[
            "moot backup moot.db                # even while the server runs",
            "moot backup - | gzip > moot.db.gz",
        ],
    ),
    ("restore", &["moot stop && moot restore moot.db"]),
    ("search", &["moot search 'build failed'", "moot search 회의 --room dev --since 7d"]),
    (
        "read",
        &[
            "moot read                          # all unread messages",
            "moot read dev @ann --peek          # only these; they stay unread",
        ],
    ),
    ("badge", &["PS1='$(moot badge) \\w \\$ '          # in the prompt of a shell"]),
    (
        "announce",
        &[
            "moot announce 'coffee is ready'",
            "moot announce --level critical --require all --timeout 5s 'reboot at 18:00'",
            "moot announce --ack --wait acked --timeout 10m 'who is on call?'",
            "moot announce --retain --expires 2h --in 30m 'maintenance begins'",
            "moot announce --dry-run --to ops 'who would get this?'",
        ],
    ),
    ("notices", &["moot notices list", "moot notices show '!1'             # with its receipt"]),
    ("notices list", &["moot notices list"]),
    ("notices show", &["moot notices show '!1'", "moot notices show 1"]),
    ("notices ack", &["moot notices ack '!1'"]),
    (
        "notices cancel",
        &[
            "moot notices cancel '!1'           # it is no longer shown",
            "moot notices cancel '!3'            # `list` has the ids of scheduled ones",
        ],
    ),
    (
        "who",
        &[
            "moot who",
            "moot who dev                       # only members of dev",
            "moot who --count",
            "moot who --user @bob && echo 'bob is here'",
            "moot who --json | jq -r .name",
        ],
    ),
    ("away", &["moot away                          # without a text", "moot away 'back at two'"]),
    ("back", &["moot back"]),
    ("rooms", &["moot rooms", "moot rooms --json | jq -r .name"]),
    (
        "room",
        &[
            "moot room create den --private",
            "moot room invite den @bob",
            "moot room topic dev 'release on Friday'",
        ],
    ),
    (
        "room create",
        &[
            "moot room create den --private     # for other users it does not exist",
            "moot room create news --read-only  # only its operators send messages",
            "moot room create scratch --no-history",
        ],
    ),
    ("room invite", &["moot room invite dev @bob"]),
    ("room kick", &["moot room kick dev @eve", "moot room kick dev @ann/ci"]),
    ("room ban", &["moot room ban dev @eve"]),
    ("room unban", &["moot room unban dev @eve"]),
    ("room mute", &["moot room mute dev @eve"]),
    ("room unmute", &["moot room unmute dev @eve"]),
    ("room op", &["moot room op dev @carol"]),
    ("room deop", &["moot room deop dev @carol"]),
    (
        "room topic",
        &[
            "moot room topic dev 'release on Friday'",
            "moot room topic dev                # show it",
            "moot room topic dev --clear        # remove it",
        ],
    ),
    ("room delete", &["moot room delete dev"]),
    ("room leave", &["moot room leave dev"]),
    ("kick", &["moot kick @eve", "moot kick @ann/ci"]),
    ("drop", &["moot drop 17                       # the number is in `moot who --json`"]),
    (
        "run",
        &[
            "moot run build -- make -j8",
            "moot run ops --on-fail --tail 20 -- ./backup.sh",
            "moot run ops --chronic -- ./backup.sh    # cron sends no mail unless it fails",
            "moot run build --pty -- make -j8         # as on a terminal, with colors",
        ],
    ),
    (
        "wait",
        &[
            "moot wait ci --match 'build (ok|failed)' --timeout 10m",
            "moot wait ci --since 1h --match 'build ok'   # also earlier messages",
            "moot wait ci --run build --timeout 1h        # exits with its code",
            "moot wait --here @bob --timeout 1h",
            "moot wait --gone @bob/backup && echo 'the backup is over'",
        ],
    ),
    (
        "ask",
        &[
            "moot ask math '1 1000'",
            "moot ask math '1 1000' --replies 2 --timeout 10s",
            "sum=$(moot ask math '1 1000') && echo \"it is $sum\"",
        ],
    ),
    (
        "answer",
        &[
            "moot answer dev --exec uptime      # its output is the reply",
            "moot answer math --queue q --exec sh -c 'read a b; echo $(((a+b)*(b-a+1)/2))'",
            "moot answer math --queue q --jobs 4 --exec ./backup.sh",
        ],
    ),
    (
        "status",
        &[
            "moot status",
            "moot status --json | jq .sessions",
            "moot status --audit                # actions of operators",
        ],
    ),
    ("doctor", &["moot doctor"]),
    (
        "link",
        &[
            "moot link tls://hub:4222 --rooms dev,ops --check   # what is wrong",
            "moot link tls://hub:4222 --rooms dev,ops --announcements",
        ],
    ),
    (
        "bench",
        &[
            "moot bench                         # throughput to 10 members",
            "moot bench --members 100 --rate 200 # latency at a low rate",
            "moot bench --senders 8 --room-history on --json",
        ],
    ),
    (
        "serve",
        &[
            "moot serve                         # until Ctrl-C",
            "moot serve --check                 # only check the configuration",
            "moot serve --idle-exit 15m --history off",
            "moot serve --system                # as root: for all users of this host",
        ],
    ),
    ("stop", &["moot stop"]),
    (
        "completions",
        &[
            "eval \"$(moot completions bash)\"    # in ~/.bashrc",
            "moot completions zsh > _moot       # move to a directory of $fpath",
            "moot completions fish > moot.fish  # move to ~/.config/fish/completions",
            "moot completions powershell        # append the output to $PROFILE",
        ],
    ),
    (
        "man",
        &[
            "moot man | man -l -                # read the page of moot",
            "moot man room create | man -l -    # read another page",
            "moot man --dir man1                # write all pages",
        ],
    ),
];

/// Further remarks on a command, after its examples.
const REMARKS: &[(&str, &str)] = &[
    (
        "send",
        "With --lines, `moot send` reconnects when the server restarts, and submits unacknowledged \
         lines again: each line is stored once. With --json each line has one answer, sent or \
         error, with its line number as line.",
    ),
    (
        "join",
        "On a terminal, `moot join` opens the screen: rooms, messages, members and an input, with \
         a saved draft per room. F1 shows its keys and commands; Ctrl-D or /quit leaves. Its \
         settings are in screen.toml in the configuration directory; config/screen.toml of the \
         source lists all of them with their defaults. With --plain or --json, without a terminal \
         or on a dumb one, it uses line mode: each line of standard input is sent as a message, \
         except commands; /help lists them. An unknown command is never sent by mistake; //text \
         sends /text.",
    ),
    (
        "bench",
        "The benchmark creates a room and deletes it at the end. Each member checks that it gets \
         every message, in order.",
    ),
    (
        "link",
        "A link is one process a host, and a client of the server of its host. The NATS server \
         needs JetStream; docs/link.md leads from nothing to the first message between two hosts. \
         A user of another host is ann@db1, has no rights here, and can be banned by that name. \
         Direct messages are never carried. Exit codes: 2 if another link has the name of this \
         host, 1 if the NATS server or the server of this host refuses the link.",
    ),
    (
        "listen",
        "CMD is one argument, split at spaces ('prog -x \"a b\"'). If the target comes before \
         --exec, the words after the program are its arguments, up to the next option of moot; \
         after `--` all of them are. The program gets MOOT_TYPE, MOOT_ID, MOOT_ROOM or MOOT_WITH, \
         MOOT_SEQ, MOOT_TS, MOOT_FROM, MOOT_USER, MOOT_LABEL, MOOT_HOST, MOOT_UID, MOOT_PID, \
         MOOT_SESSION, MOOT_KIND, MOOT_REPLY_TO, MOOT_MENTION, MOOT_LEVEL and MOOT_SERVER in its \
         environment.",
    ),
    (
        "answer",
        "CMD is written as for `listen`, and gets the same environment, and also MOOT_QUEUE and \
         MOOT_ATTEMPT: how often the job was claimed, including now. Any user who may send \
         messages to a room may answer there.",
    ),
    (
        "wait",
        "Standard output contains only the messages or members that were waited for: with --json, \
         `ready` and other events go to standard error. --gone and --here look at members; a \
         program that only sends is not a member. --run exits with the exit code of the `run` with \
         this title, of your own user unless --from names another.",
    ),
    (
        "run",
        "`moot run` exits with the command's exit code, or 128 plus the number of the signal that \
         killed it; 124 on timeout, 125 if moot failed, 126 if the command can't be executed, 127 \
         if it does not exist. At the time limit the command is asked to end, and killed 3 s \
         later; processes that it started are not. The command gets MOOT_SERVER and MOOT_ROOM in \
         its environment.",
    ),
    ("status", "Exit codes: 0 healthy, 1 degraded (with the reasons), 3 no server."),
    (
        "doctor",
        "`moot doctor` starts no server and does not disturb a running one. Exit codes: 0 no \
         problem is left, 1 problems are left.",
    ),
];

/// Exit codes of every command.
pub(super) const EXIT_CODES: &[(u8, &str)] = &[
    (0, "done"),
    (1, "failed, or nothing matched"),
    (2, "wrong usage, or input that can't be sent"),
    (3, "no server"),
    (4, "not permitted"),
    (5, "no such room, member, user or id"),
    (6, "sent, but not to as many as required"),
    (7, "the server speaks another version of the protocol"),
    (124, "the time limit passed"),
    (129, "ended by SIGHUP"),
    (130, "interrupted"),
    (143, "ended by SIGTERM"),
];

/// Exit codes of `run` beside those of its command.
pub(super) const RUN_EXIT_CODES: &[(u8, &str)] = &[
    (0, "the command succeeded"),
    (2, "wrong usage of moot run; the command was not executed"),
    (124, "the time limit passed"),
    (125, "moot failed; the command was not executed"),
    (126, "the command can't be executed"),
    (127, "the command does not exist"),
    (128, "plus the number of a signal: that signal ended the command"),
];

/// Returns the examples of a command, by its words (`room create`); none of an unknown one.
pub(super) fn of(command: &str) -> &'static [&'static str] {
    EXAMPLES.iter().find(|(name, _)| *name == command).map_or(&[], |(_, lines)| lines)
}

/// Returns the further remark on a command.
pub(super) fn remark(command: &str) -> Option<&'static str> {
    REMARKS.iter().find(|(name, _)| *name == command).map(|(_, text)| *text)
}
