//! The loop between the session, the terminal, the model and the view.

use std::{
    collections::HashMap,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use crossterm::event::{
    Event as Key, KeyCode, KeyEventKind, KeyModifiers, MouseButton, MouseEventKind,
};

use super::{
    kept::{self, Kept},
    model::{Effect, Model, PendingRequest, Present, When},
    outside,
    setup::{End, Farewell, Input, ScreenError, Setup, options},
    terminal::{self, GoOn, Terminal, Wish, restore},
    view,
};
use crate::{
    chat::{
        message::StreamName,
        names::{Label, RoomName},
        refusal::Refusal,
        reply::Reply,
        request::Request,
        text::counted,
    },
    client::{Event, Member, Wake, WakeReceiver, WakeSender},
    config::screen::NotifyBy,
    os,
    presence::Snapshot,
};

/// Minimum time between two frames while many messages arrive. The effect of a key is shown at
/// once.
const FRAME_EVERY: Duration = Duration::from_millis(33);
/// Frame time that is saved up, so that a few changes after a pause are shown at once as well.
const FRAMES_SAVED: Duration = Duration::from_millis(33 * 5);
/// Maximum wait for acknowledgments when the user leaves.
const STANDS_WITHIN: Duration = Duration::from_millis(300);

fn now() -> When {
    When { mono_us: os::monotonic_us(), wall_us: os::wall_us() }
}

/// Shows the screen until the user leaves.
///
/// # Errors
/// Returns an error if the terminal can't be used, or the settings are invalid.
pub(crate) fn run(
    member: Member,
    setup: Setup,
    inputs: &WakeReceiver<Input>,
    to_loop: WakeSender<Input>,
) -> Result<Farewell, ScreenError> {
    let mut notes = Vec::new();
    let label = setup.label.as_ref().map(Label::as_str);
    // Without a home directory drafts can't be saved.
    let kept_at = os::screen_dir(&os::Env::from_process())
        .ok()
        // A read-only screen has no drafts.
        .filter(|_| !setup.read_only)
        .map(|screens| kept::path_of(&screens, setup.places.directory(), label));
    let kept = match &kept_at {
        Some(path) => {
            let (kept, note) = kept::load(path);
            notes.extend(note);
            kept
        }
        None => Kept::default(),
    };
    let options = options(&setup, member.user())?;
    let wish = Wish { mouse: options.mouse, links: options.look.links };
    let me = match &setup.label {
        None => member.user().to_owned(),
        Some(label) => format!("{}/{label}", member.user()),
    };
    let mut model = Model::new(now(), options, me, &setup.rooms, kept);
    match notes.first() {
        Some(note) => model.failed(note.as_str()),
        None => model.welcome(),
    }
    let terminal = Terminal::enter(wish)?;
    let (columns, rows) = terminal.size();
    model.resize(columns, rows);
    let go_on = terminal::read_keys(to_loop.clone(), Input::Keys)?;
    let screen = Screen {
        member,
        model,
        terminal,
        go_on,
        to_loop,
        kept_at,
        asked: HashMap::new(),
        said: HashMap::new(),
        is_outside: false,
        editing: None,
        held: Vec::new(),
        ends: None,
        pacing: Pacing::begin(),
        by_terminal: setup.settings.notify.by == NotifyBy::Terminal,
        shown_title: String::new(),
        notes,
        setup,
    };
    screen.run(inputs)
}

/// Times of the frames: at once after a key, otherwise at a bounded rate.
struct Pacing {
    frame_at: Instant,
    /// True if the terminal shows an older state than the model has.
    is_stale: bool,
}

impl Pacing {
    fn begin() -> Self {
        let begins = Instant::now();
        Self { frame_at: begins.checked_sub(FRAMES_SAVED).unwrap_or(begins), is_stale: true }
    }

    /// Makes the next frame due now.
    fn hurry(&mut self) {
        self.frame_at = self.frame_at.min(Instant::now());
    }

    fn is_due(&self) -> bool {
        self.is_stale && self.frame_at <= Instant::now()
    }

    /// Returns the time of the next frame, if there is something to draw.
    fn next(&self) -> Option<Instant> {
        self.is_stale.then_some(self.frame_at)
    }

    fn drawn(&mut self) {
        self.is_stale = false;
        let drawn = Instant::now();
        let earliest = drawn.checked_sub(FRAMES_SAVED).unwrap_or(drawn);
        self.frame_at = self.frame_at.max(earliest) + FRAME_EVERY;
    }
}

struct Screen {
    member: Member,
    model: Model,
    terminal: Terminal,
    go_on: GoOn,
    to_loop: WakeSender<Input>,
    /// File of the drafts.
    kept_at: Option<PathBuf>,
    /// Requests without a reply, with their start, monotonic microseconds.
    asked: HashMap<u32, (PendingRequest, u64)>,
    /// Submit counters with the model's tokens and their start, monotonic microseconds.
    said: HashMap<u64, (u64, u64)>,
    /// True while a pager or editor has the terminal.
    is_outside: bool,
    /// Room and text in the editor.
    editing: Option<(StreamName, String)>,
    /// Keys that arrived together with the one that gave the terminal away.
    held: Vec<Key>,
    /// End of the screen, once the terminal is back.
    ends: Option<End>,
    pacing: Pacing,
    by_terminal: bool,
    shown_title: String,
    notes: Vec<String>,
    setup: Setup,
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A panic does not lose drafts.
        if thread::panicking() {
            self.keep();
        }
    }
}

impl Screen {
    fn run(mut self, inputs: &WakeReceiver<Input>) -> Result<Farewell, ScreenError> {
        let done = self.turn_until_end(inputs);
        // A process that has to end has little time.
        self.keep();
        restore();
        self.model.tell_marks();
        while let Some(effect) = self.model.take_effect() {
            if let Effect::Ask(request, _) = effect {
                self.member.ask(&request);
            }
        }
        self.wait_until_it_stands();
        let count = self.model.unsaid_count();
        self.model.keep_orphans();
        self.keep();
        if count > 0 {
            let count = counted(count as u64, "message");
            let text = match self.kept_at {
                Some(_) => format!("{count} may not have been sent; saved with the drafts"),
                None => format!("{count} may not have been sent, and can't be saved"),
            };
            self.notes.push(text);
        }
        self.member.say_good_bye();
        done.map(|end| Farewell { end, notes: std::mem::take(&mut self.notes) })
    }

    /// Waits a moment for acknowledgments: an acknowledged text is not a draft.
    fn wait_until_it_stands(&mut self) {
        let until = Instant::now() + STANDS_WITHIN;
        while self.member.unacked() > 0 && self.member.is_connected() {
            match self.member.wait::<()>(None, Some(until)) {
                Wake::Event(Event::Sent(sent)) => {
                    if let Some((token, _)) = self.said.remove(&sent.counter) {
                        self.model.sent(now(), token, sent.id.seq);
                    }
                }
                Wake::Event(Event::Rejected(_)) => self.put_refused_back(),
                Wake::TimedOut | Wake::Event(Event::Ended(_)) => return,
                Wake::Event(_) | Wake::Item(_) => {}
            }
        }
    }

    fn turn_until_end(&mut self, inputs: &WakeReceiver<Input>) -> Result<End, ScreenError> {
        loop {
            let at = now();
            let said = self.said.values().map(|(_, since)| *since);
            let waits = self.asked.values().map(|(_, since)| *since).chain(said).min();
            self.model.server.waits_since_us = waits.filter(|_| self.member.is_connected());
            self.model.tick(at);
            while let Some(effect) = self.model.take_effect() {
                if let Some(end) = self.act(effect)? {
                    return Ok(end);
                }
            }
            self.pacing.is_stale |= self.model.take_changed();
            if !self.is_outside && self.pacing.is_due() {
                self.draw()?;
                self.pacing.drawn();
            }
            let frame = self.pacing.next().filter(|_| !self.is_outside);
            let due = self.model.deadline_us(at).map(|due_us| {
                Instant::now() + Duration::from_micros(due_us.saturating_sub(os::monotonic_us()))
            });
            let until = [frame, due, self.setup.until].into_iter().flatten().min();
            let wake = self.member.wait(Some(inputs), until);
            if let Some(end) = self.take(wake)? {
                return Ok(end);
            }
        }
    }

    /// Handles one wake. Returns an end if it is one.
    fn take(&mut self, wake: Wake<Input>) -> Result<Option<End>, ScreenError> {
        match wake {
            Wake::Item(input) => return self.take_input(input),
            Wake::Event(Event::Sent(sent)) => {
                if let Some((token, since_us)) = self.said.remove(&sent.counter) {
                    let at = now();
                    self.model.server.lag_us = Some(at.mono_us.saturating_sub(since_us));
                    self.model.sent(at, token, sent.id.seq);
                }
            }
            Wake::Event(Event::Rejected(refusal)) => {
                self.put_refused_back();
                self.model.refused(now(), &refusal);
            }
            Wake::Event(Event::NotFollowed(follow, refusal)) => {
                self.model.not_followed(now(), &follow, &refusal);
            }
            Wake::Event(Event::Ended(refused)) if self.is_outside => {
                self.ends = Some(End::Refused(refused));
            }
            Wake::Event(Event::Ended(refused)) => return Ok(Some(End::Refused(refused))),
            Wake::Event(Event::Reply(serial, result)) => self.answered(serial, result),
            Wake::Event(event) => {
                if let Event::Ready { .. } = event {
                    // Time without a server is not lag.
                    for (_, since_us) in self.said.values_mut() {
                        *since_us = os::monotonic_us();
                    }
                }
                self.model.event(now(), event);
            }
            Wake::TimedOut => {
                if self.setup.until.is_some_and(|until| until <= Instant::now()) {
                    if !self.is_outside {
                        return Ok(Some(End::TimedOut));
                    }
                    self.setup.until = None;
                    self.ends = Some(End::TimedOut);
                }
            }
        }
        Ok(None)
    }

    fn take_input(&mut self, input: Option<Input>) -> Result<Option<End>, ScreenError> {
        match input {
            None | Some(Input::Leave) => return Ok(Some(End::Interrupted)),
            Some(Input::Keys(keys)) => {
                if keys.is_empty() {
                    // The terminal is gone.
                    return Ok(Some(End::Interrupted));
                }
                self.held = keys;
                self.take_keys()?;
            }
            Some(Input::Back(outcome)) => {
                self.come_back(outcome)?;
                if let Some(end) = self.ends.take() {
                    return Ok(Some(end));
                }
                self.take_keys()?;
                self.pacing.is_stale = true;
            }
        }
        // The effect of a key is shown at once.
        self.pacing.hurry();
        Ok(None)
    }

    /// Returns refused texts to their rooms.
    fn put_refused_back(&mut self) {
        for counter in self.member.take_refused() {
            if let Some((token, _)) = self.said.remove(&counter) {
                self.model.unsaid(token);
            }
        }
    }

    fn key(&mut self, key: Key) {
        let at = now();
        match key {
            Key::Key(key) if key.kind != KeyEventKind::Release => {
                if cfg!(debug_assertions) && is_panic_key(&key) {
                    panic!("as a test wished");
                }
                self.model.key(at, &key);
            }
            Key::Key(_) => {}
            Key::Paste(text) => self.model.paste(at, &text),
            Key::Resize(..) => {
                let (columns, rows) = self.terminal.measure();
                self.model.resize(columns, rows);
            }
            Key::FocusGained => self.model.focus(at, true),
            Key::FocusLost => self.model.focus(at, false),
            Key::Mouse(mouse) => match mouse.kind {
                MouseEventKind::ScrollUp => self.model.wheel(at, true),
                MouseEventKind::ScrollDown => self.model.wheel(at, false),
                MouseEventKind::Down(MouseButton::Left) => {
                    self.model.click(at, mouse.column, mouse.row);
                }
                _ => {}
            },
        }
    }

    /// Handles a batch of keys. Once one of them gives the terminal to a program, the others wait
    /// until it is back; otherwise the next batch is read.
    fn take_keys(&mut self) -> Result<(), ScreenError> {
        let mut keys = std::mem::take(&mut self.held).into_iter();
        for (nth, key) in keys.by_ref().enumerate() {
            // Keys that arrive together are not drawn one by one.
            if nth > 0 && uses_geometry(&key) {
                self.model.set_geometry(view::geometry(&self.model));
            }
            self.key(key);
            self.hand_on_the_terminal()?;
            if self.is_outside {
                break;
            }
        }
        self.held = keys.collect();
        if !self.is_outside {
            self.go_on.go();
        }
        Ok(())
    }

    /// Executes effects that need the terminal, between two keys.
    fn hand_on_the_terminal(&mut self) -> Result<(), ScreenError> {
        let mut rest = Vec::new();
        while let Some(effect) = self.model.take_effect() {
            match effect {
                Effect::Suspend => {
                    self.terminal.suspend_for(os::suspend);
                    self.take_size();
                    self.pacing.is_stale = true;
                }
                Effect::Page(text) => self.go_outside(move || {
                    outside::page(&text).map(|()| None).map_err(|e| e.to_string())
                })?,
                Effect::Edit { room, text } => {
                    self.editing = Some((room, text.clone()));
                    self.go_outside(move || outside::edit(&text).map_err(|e| e.to_string()))?;
                }
                effect => rest.push(effect),
            }
        }
        self.model.put_effects_back(rest);
        Ok(())
    }

    /// Measures the terminal, which is back and may have changed.
    fn take_size(&mut self) {
        let (columns, rows) = self.terminal.measure();
        self.model.resize(columns, rows);
        self.shown_title.clear();
    }

    /// Starts a pager or editor, which has the terminal; the session continues.
    fn go_outside(
        &mut self,
        work: impl FnOnce() -> Result<Option<String>, String> + Send + 'static,
    ) -> Result<(), ScreenError> {
        self.terminal.pause();
        self.is_outside = true;
        (self.setup.signals_to_child)(true);
        let to_loop = self.to_loop.clone();
        let body = move || {
            let _ = to_loop.send(Input::Back(work()));
        };
        thread::Builder::new().name("moot-outside".to_owned()).spawn(body).map(drop)?;
        Ok(())
    }

    fn come_back(&mut self, outcome: Result<Option<String>, String>) -> Result<(), ScreenError> {
        self.is_outside = false;
        (self.setup.signals_to_child)(false);
        let resumed = self.terminal.resume();
        let editing = self.editing.take();
        if self.ends.is_none() && os::was_told_to_end() {
            self.ends = Some(End::Interrupted);
        }
        match outcome {
            Ok(Some(text)) => {
                if let Some((room, before)) = editing {
                    self.model.edited(now(), &room, &before, &text);
                }
            }
            Ok(None) => {}
            Err(e) => self.model.failed(e),
        }
        resumed?;
        self.take_size();
        self.model.set_geometry(view::geometry(&self.model));
        Ok(())
    }

    fn draw(&mut self) -> Result<(), ScreenError> {
        let (frame, geometry) = view::frame(&self.model, os::monotonic_us());
        self.model.set_geometry(geometry);
        self.terminal.draw(&frame)?;
        let title = self.model.title();
        if title != self.shown_title {
            self.terminal.title(&title)?;
            self.shown_title = title;
        }
        Ok(())
    }

    fn act(&mut self, effect: Effect) -> Result<Option<End>, ScreenError> {
        match effect {
            Effect::Say { token, to, reply_to, text } => {
                let counter = self.member.say(to, reply_to, text);
                self.said.insert(counter, (token, os::monotonic_us()));
            }
            Effect::Ask(request, asked) => self.ask(&request, asked),
            Effect::Follow(follow) => self.member.follow(follow),
            Effect::Part(room) => {
                self.member.part(&room, true);
            }
            Effect::Look(room) => self.look(room.as_ref()),
            // Another program has the terminal.
            Effect::Bell | Effect::Copy(_) | Effect::Mouse(_) | Effect::Redraw
                if self.is_outside => {}
            Effect::Bell => self.terminal.bell()?,
            Effect::Notify(message) => match &mut self.setup.notifier {
                _ if self.by_terminal && self.is_outside => {}
                _ if self.by_terminal => {
                    self.terminal.notify(&format!("{}: {}", message.from, message.text))?;
                }
                Some(notifier) => notifier(&message),
                None => {}
            },
            Effect::Copy(text) => {
                if !self.terminal.copy(&text)? {
                    self.model
                        .failed("the text is too long for the clipboard; open it in the pager");
                }
            }
            Effect::Mouse(on) => self.terminal.set_mouse(on)?,
            Effect::Redraw => self.terminal.redraw()?,
            Effect::Keep => self.keep(),
            Effect::Leave { interrupted: true } => return Ok(Some(End::Interrupted)),
            Effect::Leave { interrupted: false } => return Ok(Some(End::Quit)),
            // Only keys cause these effects (`hand_on_the_terminal`).
            Effect::Page(_) | Effect::Edit { .. } | Effect::Suspend => {}
        }
        Ok(None)
    }

    fn ask(&mut self, request: &Request, asked: PendingRequest) {
        let serial = self.member.ask(request);
        self.asked.insert(serial, (asked, os::monotonic_us()));
    }

    fn answered(&mut self, serial: u32, result: Result<Reply, Refusal>) {
        let Some((asked, since_us)) = self.asked.remove(&serial) else { return };
        let at = now();
        // Searches are slow, so they are not counted as lag.
        if result.is_ok() && !matches!(asked, PendingRequest::Hits { .. }) {
            self.model.server.lag_us = Some(at.mono_us.saturating_sub(since_us));
        }
        match (asked, result) {
            (PendingRequest::Page(asked), Ok(Reply::Page(page))) => {
                let messages = self.member.messages_of_page(&asked.room, &page);
                self.model.take_page(at, asked, messages, page.last);
            }
            (asked, result) => self.model.answered(at, asked, result),
        }
    }

    /// Looks up the state of the server and the members of a room in the presence table.
    fn look(&mut self, room: Option<&RoomName>) {
        // Without a table, or while it is being written, the next look follows.
        let Ok(snapshot) = Snapshot::read(&self.setup.places) else { return };
        self.model.server_is(snapshot.server);
        let Some(room) = room else { return };
        let now_us = os::monotonic_us();
        let rows = snapshot.rows.into_iter();
        let present = rows.filter(|row| !row.visitor && row.rooms.contains(room)).map(|row| {
            let present = Present {
                name: row.handle().to_string(),
                sessions: 1,
                kind: row.kind,
                state: row.state,
                idle_s: 0,
                status: row.status.into(),
            };
            present.idle_since(now_us, row.active_mono_us)
        });
        self.model.take_members(room, present);
    }

    fn keep(&mut self) {
        let Some(path) = &self.kept_at else { return };
        let (kept, touched) = self.model.kept();
        let note = match kept::save(path, kept, touched) {
            Ok(left_out) => {
                self.model.is_kept(&left_out);
                if left_out.is_empty() {
                    return;
                }
                format!("drafts are too long to save: {}", left_out.join(", "))
            }
            Err(e) => format!("can't save drafts ({}): {e}", path.display()),
        };
        let is_new = !self.notes.contains(&note);
        self.model.not_kept(now(), is_new.then_some(note.as_str()));
        if is_new {
            self.notes.push(note);
        }
    }
}

/// Returns true for the key that panics; only in builds for tests.
fn is_panic_key(key: &crossterm::event::KeyEvent) -> bool {
    key.code == KeyCode::F(12) && std::env::var_os("MOOT_TEST_PANIC").is_some()
}

/// Returns false for keys that only type: a long text that is typed without a paste would be laid
/// out again for each character.
fn uses_geometry(key: &Key) -> bool {
    match key {
        Key::Key(key) => {
            let types = matches!(key.code, KeyCode::Char(_))
                && !key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT);
            key.kind != KeyEventKind::Release && !types
        }
        Key::Mouse(_) => true,
        Key::Paste(_) | Key::Resize(..) | Key::FocusGained | Key::FocusLost => false,
    }
}
