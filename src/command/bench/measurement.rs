//! A measurement: members and senders in a room of their own.

use std::time::{Duration, Instant};

use super::{
    members::{self, Members},
    report::{Measured, Report, grouped},
    senders::Senders,
};
use crate::{
    chat::{
        names::{RoomName, Target},
        reply::Reply,
        request::Request,
        stream_id::StreamId,
    },
    client::{Link, WakeReceiver},
    command::{
        args::{BenchArgs, BenchRate},
        connect::Context,
        exit_code::{Exit, Failure},
        interrupt::{self, Leave},
    },
    os,
};

/// Before it is measured: channels are proven, buffers are grown.
const WARM_UP: Duration = Duration::from_millis(500);
/// Interval between reports of progress.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);
/// Maximum time for the last message to reach its last member.
const DRAIN_MAX: Duration = Duration::from_secs(30);

pub(in crate::command) fn run(context: &mut Context, args: &BenchArgs) -> Result<Exit, Failure> {
    if let Some(room) = &args.as_member {
        return members::be_one(context, room, args.rate != BenchRate::Max);
    }
    let interrupted = interrupt::catch_to_clean_up()?;
    os::raise_descriptor_limit();
    let mut control = context.link()?;
    let (pid, broadcast) = {
        let welcome = control.welcome()?;
        (welcome.pid, welcome.broadcast.clone())
    };
    let room = make_room(&mut control, args.room_history())?;
    let measured = number_of(&mut control, &room)
        .and_then(|stream| measure(context, args, (&room, stream), pid, &interrupted));
    control.set_deadline(Some(context.deadline()));
    let gone = control.ask(&Request::DeleteRoom { room });
    let measured = measured?;
    gone?;
    control.quit();
    let result = Report { args, broadcast, measured };
    match context.global.json {
        true => context.out.json(&result.json())?,
        false => context.out.lines(&result.text())?,
    }
    if result.measured.lost > 0 || result.measured.disordered > 0 {
        return Err(Failure::new(Exit::Failed, "messages were lost, or came out of order"));
    }
    Ok(Exit::Done)
}

fn make_room(control: &mut Link, history: bool) -> Result<RoomName, Failure> {
    let number = os::random_u32()
        .map_err(|e| Failure::new(Exit::Failed, format!("can't get random numbers: {e}")))?;
    let room = RoomName::new(&format!("bench-{number:08x}")).expect("a good name");
    let request =
        Request::CreateRoom { room: room.clone(), history, private: false, read_only: false };
    match control.ask(&request)? {
        Reply::Done => Ok(room),
        other => Err(Failure::new(Exit::Failed, format!("unexpected reply: {other:?}"))),
    }
}

/// Returns the room's number: a sender that still runs does not make the room again once it is
/// gone.
fn number_of(control: &mut Link, room: &RoomName) -> Result<StreamId, Failure> {
    match control.ask(&Request::Open { target: Target::Room(room.clone()) })? {
        Reply::Opened(info) => Ok(info.tag),
        other => Err(Failure::new(Exit::Failed, format!("unexpected reply: {other:?}"))),
    }
}

fn measure(
    context: &Context,
    args: &BenchArgs,
    (room, stream): (&RoomName, StreamId),
    pid: u32,
    interrupted: &WakeReceiver<Leave>,
) -> Result<Measured, Failure> {
    let usage = || os::process_usage(pid);
    let check = || match interrupted.try_recv() {
        None => Ok(()),
        Some(why) => Err(Failure::new(why.exit(), "")),
    };
    let before = usage();
    let mut members = Members::join(context, args, room, &check)?;
    let joined = usage();
    let memory = |usage: Option<os::Usage>| usage.and_then(|usage| usage.memory_bytes);
    let memory_bytes = memory(joined)
        .zip(memory(before))
        .map(|(after, before)| after.saturating_sub(before) / u64::from(args.members));
    let senders = Senders::start(context, args, stream)?;
    members.wait(WARM_UP, &check)?;
    let (began, at_begin, cpu_begin) = (Instant::now(), members.begin()?, usage());
    let mut last = (began, at_begin);
    while began.elapsed() < args.duration() && !senders.have_failed() {
        let left = args.duration().saturating_sub(began.elapsed());
        members.wait(PROGRESS_EVERY.min(left), &check)?;
        if let Some(seen) = members.seen()
            && last.0.elapsed() >= PROGRESS_EVERY / 2
        {
            let secs = last.0.elapsed().as_secs_f64();
            let rate = (seen.deliveries - last.1.deliveries) as f64 / secs;
            context.out.note(&format!(
                "{:5.1} s  {:>11}/s messages  {:>13}/s deliveries",
                began.elapsed().as_secs_f64(),
                grouped(rate / f64::from(args.members)),
                grouped(rate),
            ));
            last = (Instant::now(), seen);
        }
    }
    let at_end = members.end()?;
    let (seconds, cpu_end) = (began.elapsed().as_secs_f64(), usage());
    let sent = senders.stop()?;
    let (seen, latencies) = members.drain(sent, DRAIN_MAX, &check)?;
    let cpu = |usage: Option<os::Usage>| usage.map(|usage| usage.cpu_us);
    Ok(Measured {
        seconds,
        deliveries: at_end.deliveries - at_begin.deliveries,
        lost: (sent * u64::from(args.members)).saturating_sub(seen.deliveries),
        disordered: seen.disordered,
        latencies,
        cpu_us: cpu(cpu_end).zip(cpu(cpu_begin)).map(|(end, begin)| end.saturating_sub(begin)),
        memory_bytes,
    })
}
