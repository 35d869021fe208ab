//! The server of a whole host, in places of its own: which server a command uses, and what changes while it runs.

use std::process::{Command, Stdio};

use crate::{
    machine,
    world::{Done, World, is_root, skipped},
};

/// Runs a script on a host with a server of its own, which is `$server`.
fn on_a_host(script: &str) -> Option<Done> {
    alone(&[], &format!("{script}\nkill $server; wait $server"))
}

/// Runs a script where `/run`, `/var/lib` and `/etc/moot` are empty; `$bob` runs a command as another user.
pub fn alone(unshare: &[&str], script: &str) -> Option<Done> {
    const BEFORE: &str = r#"set -u
        mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /var/lib && mkdir -p /etc/moot &&
        mount -t tmpfs tmpfs /etc/moot || exit 77
        bob="setpriv --reuid 12347 --regid 12347 --clear-groups env HOME=$HOME/bob"
        mkdir -m 700 "$HOME/bob"; chown 12347:12347 "$HOME/bob"
        fail() { echo "failed: $*" >&2; exit 1; }
        exits() { local want=$1; shift; "$@" >"$HOME/out" 2>&1; local got=$?
            test $got = $want || { cat "$HOME/out" >&2; fail "$got, not $want: $*"; }; }
        says() { grep -q -- "$1" "$HOME/out" || { cat "$HOME/out" >&2; fail "no: $1"; }; }
        until_ok() { for i in $(seq 1000); do "$@" >/dev/null 2>&1 && return; sleep .02; done; fail "never: $*"; }
        serve() { $moot serve --system >>"$HOME/log" 2>&1 & server=$!; until_ok $moot --server host status; }
        logged() { grep -q -- "$1" "$HOME/log"; }
    "#;
    if !is_root() {
        skipped("needs root");
        return None;
    }
    let world = World::new();
    let moot = world.copy_of_moot();
    let script = format!("moot={}; {BEFORE}\n{script}", moot.display());
    let mut command = Command::new("unshare");
    command.args(["-m", "--propagation", "private"]).args(unshare).args(["bash", "-c", &script]);
    machine::isolate(&mut command, &world.path(""));
    command.env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let done = Done::of(command, None);
    if done.code == 77 {
        skipped("no private mounts here");
        return None;
    }
    Some(done.ok())
}

#[test]
fn commands_use_no_user_server_when_the_system_server_ended() {
    on_a_host(
        r#"
        exits 0 $bob $moot send a private; exits 0 $bob $moot stop
        serve
        exits 0 $bob $moot send ops one
        exits 0 $bob $moot --server own send a mine
        exits 0 $bob $moot --server host history ops; says one
        kill $server; wait $server
        for command in "send ops x" "listen ops" "who" "status" "announce x" "join --plain ops"; do
            exits 3 $bob $moot $command; says "the system server is not running"; says "--server own"
            exits 3 $bob $moot --server host $command
        done
        exits 0 $bob $moot --server own history a; says mine
        exits 0 env MOOT_SERVER=own $bob $moot history a; says private
        # The policy of the host may say otherwise.
        printf '[server]\nfallback = "own"\n' >/etc/moot/moot.toml
        exits 0 $bob $moot history a; says private
        exits 3 $bob $moot --server host send ops x
        exits 0 $bob $moot stop
        rm /etc/moot/moot.toml
        # A user sees no fault of the history that is not theirs.
        exits 1 $bob $moot doctor; says "does not run"; says "problems 1"
        serve
        exits 0 $bob $moot history ops; says one
        "#,
    );
}

#[test]
fn hangup_reloads_the_configuration_of_a_host_server() {
    on_a_host(
        r#"
        serve
        exits 0 $bob $moot send ops one
        $bob $moot listen ops >/dev/null 2>"$HOME/listen" & listen=$!
        is_here() { $moot who --count | grep -qx 1; }; until_ok is_here
        printf '[server]\nallow = ["@root", "@nosuch"]\n[history]\nkeep = "90d"\n' >/etc/moot/moot.toml
        kill -HUP $server
        until_ok logged "was reloaded"
        until_ok logged "server.allow: unknown user @nosuch"
        logged "history.keep" || fail "what needs a restart is not named"
        wait $listen; test $? = 4 || fail "a member stays who is not admitted"
        exits 4 $bob $moot send ops two; says "--server own"
        exits 0 $bob $moot --server own send ops mine; exits 0 $bob $moot --server own stop
        # A file that can't be used changes nothing.
        echo 'nonsense = [' >/etc/moot/moot.toml
        kill -HUP $server
        until_ok logged "was not reloaded"
        exits 4 $bob $moot send ops two
        printf '[policy]\ncreate_rooms = ["@root"]\n' >/etc/moot/moot.toml
        kill -HUP $server
        until_ok $bob $moot send ops three
        exits 4 $bob $moot send another four
        exits 0 $moot status
        "#,
    );
}

#[test]
fn configured_room_belongs_to_the_operators_that_are_named() {
    on_a_host(
        r#"
        printf '[rooms.ops]\noperators = ["@daemon"]\n[rooms.lobby]\n' >/etc/moot/moot.toml
        daemon="setpriv --reuid 1 --regid 1 --clear-groups env HOME=/nonexistent"
        serve
        exits 0 $moot rooms; says ops; says lobby
        for room in ops lobby dev; do exits 0 $bob $moot send $room first; done
        exits 0 $bob $moot room topic dev mine
        exits 4 $bob $moot room topic ops mine
        exits 4 $bob $moot room topic lobby mine
        exits 0 $daemon $moot room topic ops theirs
        exits 4 $daemon $moot room topic lobby theirs
        printf '[rooms.ops]\n[rooms.later]\noperators = ["@daemon"]\n' >/etc/moot/moot.toml
        kill -HUP $server; until_ok logged "was reloaded"
        exits 0 $moot rooms; says later
        exits 4 $daemon $moot room topic ops theirs
        exits 0 $daemon $moot room topic later theirs
        "#,
    );
}

#[test]
fn users_who_are_not_admitted_see_nothing_of_a_host_server() {
    on_a_host(
        r#"
        printf '[server]\nallow = ["@daemon", "%%mail"]\n' >/etc/moot/moot.toml
        daemon="setpriv --reuid 1 --regid 1 --clear-groups env HOME=/nonexistent"
        mailer="setpriv --reuid 12348 --regid 12348 --groups $(getent group mail | cut -d: -f3) env HOME=/nonexistent"
        serve
        for round in 1 2; do
            for command in who status "send ops x" "history ops" "listen ops" rooms; do
                exits 4 $bob $moot $command; says "--server own"
            done
            exits 1 $bob $moot doctor; says "does not admit you"
            exits 0 $daemon $moot send ops x; exits 0 $daemon $moot who
            exits 0 $mailer $moot who
            exits 0 $moot who
            # The same holds for what is made again.
            rm /run/moot/socket /run/moot/presence
            until_ok $moot status; until_ok $daemon $moot who; until_ok $mailer $moot who
        done
        echo >/etc/moot/moot.toml
        kill -HUP $server
        until_ok $bob $moot who
        until_ok $bob $moot send ops x
        "#,
    );
}
