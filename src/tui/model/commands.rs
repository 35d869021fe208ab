//! Sending: texts, and commands that begin with a slash.

use super::{Alert, Effect, Mode, Model, Pending, PendingRequest, Room, TypedCommand, When};
use crate::{
    chat::{
        message::StreamName,
        names::{Handle, Label, RoomName, Target, UserName},
        request::Follow,
        text::Text,
    },
    limits::UNACKED_SUBMITS_MAX,
    tui::{
        scrollback::NoteKind,
        sentences,
        slash::{self, CommandPlace, Line, ScreenCommand, ServerCommand, Slash},
    },
};

impl Model {
    /// Sends the typed text, or executes the command. After an error the line stays in the input.
    pub(super) fn send(&mut self, now: When) {
        let text = self.editor.text().to_owned();
        if text.is_empty() {
            return;
        }
        let done = match slash::parse(&text) {
            Err(e) => Err(e),
            Ok(Line::Say(text)) => self.say_here(now, text),
            Ok(Line::Do(command)) => self.run(now, command),
        };
        self.keep_soon(now);
        if let Err(e) = done {
            // If the room has changed, the line is no longer in the input.
            self.complain(e);
        }
    }

    /// Empties the input, whose text was sent.
    fn taken(&mut self) {
        let _ = self.editor.take();
    }

    fn say_here(&mut self, now: When, text: String) -> Result<(), String> {
        self.may_say()?;
        let text = Text::try_from(text).map_err(|e| e.to_string())?;
        let room = self.room_mut().ok_or(sentences::NO_ROOM)?;
        if room.gone {
            let room = room.title();
            return Err(format!("you are not in {room}; /join {room} to join again"));
        }
        let reply_to = room.quote.take().map(|quote| quote.seq);
        self.taken();
        self.say_in(now, self.current, None, reply_to, text);
        Ok(())
    }

    /// Sends a text to a room, or to one label of a conversation's user, and shows it as pending
    /// until it is acknowledged.
    fn say_in(
        &mut self,
        now: When,
        at: usize,
        label: Option<Label>,
        reply_to: Option<u64>,
        text: Text,
    ) {
        let token = self.outgoing.next_token;
        self.outgoing.next_token += 1;
        let room = &mut self.rooms[at];
        let to = match &room.name {
            StreamName::Room(name) => Some(Target::Room(name.clone())),
            // The server checks each time if a session has that label.
            StreamName::Direct(user) if label.is_none() && room.conversation.is_open => {
                Some(Target::User { user: user.clone(), label: None })
            }
            StreamName::Direct(_) | StreamName::Announcements => None,
        };
        let unsent = to.is_none();
        let pending = Pending { token, label, reply_to, text: text.clone(), unsent, seq: None };
        room.pending.push_back(pending);
        match to {
            Some(to) => self.effects.push_back(Effect::Say { token, to, reply_to, text }),
            None => self.open_conversation(at),
        }
        self.go_to_bottom(now);
    }

    fn may_say(&self) -> Result<(), String> {
        if self.options.read_only {
            return Err("the screen is read-only (--read-only)".to_owned());
        }
        if self.unsaid_count() >= UNACKED_SUBMITS_MAX / 2 {
            return Err(
                "too many messages wait for the server; the text stays in the input".to_owned()
            );
        }
        Ok(())
    }

    // ---- commands ----------------------------------------------------------------------------

    fn run(&mut self, now: When, command: Slash) -> Result<(), String> {
        match command {
            Slash::Me(text) => self.say_here(now, text),
            Slash::Reply { seq, text } => self.reply(now, seq, text),
            Slash::Message { to, text } => self.message_to(now, to, text),
            Slash::Quit => {
                self.taken();
                self.effects.push_back(Effect::Leave { interrupted: false });
                Ok(())
            }
            Slash::Help(None) => {
                self.taken();
                self.mode = Mode::Help { from: 0 };
                Ok(())
            }
            Slash::Help(Some(info)) => {
                self.taken();
                self.note(now, NoteKind::Info, slash::help_of(info).trim_end());
                Ok(())
            }
            Slash::Join(room) => {
                self.taken();
                self.join(now, room);
                Ok(())
            }
            Slash::Part(room) => self.without_line(|model, _| model.part(now, room)),
            // The text stays in the input until there is a server.
            Slash::Ask(_) if !self.server.is_up() => Err(sentences::NOT_CONNECTED.to_owned()),
            Slash::Ask(command) => self.without_line(|model, line| model.ask(command, line)),
            Slash::Screen(command) => self.without_line(|model, _| model.act(now, command)),
        }
    }

    /// Executes a command while its line is not in the input: a command that changes the current
    /// room leaves no text in its draft. The line returns if the command fails.
    fn without_line(
        &mut self,
        act: impl FnOnce(&mut Self, &str) -> Result<(), String>,
    ) -> Result<(), String> {
        let line = self.editor.take();
        let done = act(self, &line);
        match done {
            Ok(()) => self.changed = true,
            Err(_) => {
                let parked = self.editor.text().to_owned();
                self.editor.set(&line);
                self.set_aside(self.current, "", parked);
            }
        }
        done
    }

    /// Sends the request of a command to the server.
    fn ask(&mut self, command: ServerCommand, line: &str) -> Result<(), String> {
        if command.is_public() {
            self.may_say()?;
        }
        let room = self.room();
        let place = CommandPlace {
            room: room.and_then(Room::room_name),
            label: self.options.label.as_ref(),
            to_ack: self.notices.last_to_ack(),
        };
        let typed =
            TypedCommand { line: line.to_owned(), room: room.map(|room| room.name.clone()) };
        let (request, purpose) = slash::plan(command, &place)?;
        self.effects.push_back(Effect::Ask(request, PendingRequest::Command(Some(typed), purpose)));
        Ok(())
    }

    /// Executes a command that changes the screen itself.
    fn act(&mut self, now: When, command: ScreenCommand) -> Result<(), String> {
        match command {
            ScreenCommand::Notify(wish) => self.set_alert(now, wish, false)?,
            ScreenCommand::Bell(wish) => self.set_alert(now, wish, true)?,
            ScreenCommand::Ignore(Some(handle)) => self.ignore(now, &handle)?,
            ScreenCommand::Ignore(None) => self.list_ignored(now),
            ScreenCommand::Unignore(handle) => self.unignore(now, &handle)?,
            ScreenCommand::Clear => {
                if let Some(room) = self.room_mut() {
                    room.back.clear(true);
                    room.selected = None;
                    room.go_to_end();
                    // Earlier messages return when the user scrolls up.
                    room.history.failed = true;
                }
            }
            ScreenCommand::Read => self.mark_room_read(now, self.current),
            ScreenCommand::Search(text) => self.begin_search(now, &text),
        }
        Ok(())
    }

    pub(super) fn join(&mut self, now: When, room: RoomName) {
        self.known.left.remove(room.key());
        let wish = Follow::Room(room.clone());
        let name = StreamName::Room(room);
        let is_new = self.index_of(&name).is_none_or(|at| self.rooms[at].gone);
        let at = self.open(name);
        if is_new {
            let room = &mut self.rooms[at];
            if std::mem::take(&mut room.gone) {
                // The name may belong to another user now.
                room.history.failed = false;
                room.marks.are_known = false;
                (room.marks.unread, room.marks.mentions) = (0, 0);
                room.begin_anew();
                self.times.members_at_us = now.mono_us;
            }
            self.effects.push_back(Effect::Follow(wish));
            // Earlier unread messages are requested.
            self.ask_for_marks(0);
            self.ask_for_rooms();
        }
        self.show(now, at);
    }

    fn part(&mut self, now: When, room: Option<RoomName>) -> Result<(), String> {
        let name = match room {
            Some(room) => StreamName::Room(room),
            None => self.room().ok_or(sentences::NO_ROOM)?.name.clone(),
        };
        let Some(at) = self.index_of(&name) else {
            return Err(format!("you are not in {name}"));
        };
        if let StreamName::Room(room) = &name
            && !self.rooms[at].gone
        {
            if !self.server.is_up() {
                return Err(sentences::NOT_CONNECTED.to_owned());
            }
            self.effects.push_back(Effect::Part(room.clone()));
        }
        self.close(now, &name);
        if self.rooms.is_empty() {
            self.hint("not in a room; /join ROOM, or /quit");
        }
        Ok(())
    }

    fn reply(&mut self, now: When, seq: u64, text: String) -> Result<(), String> {
        let room = self.room_mut().ok_or(sentences::NO_ROOM)?;
        let found = room.back.index_of_seq(seq).and_then(|index| room.back.get(index)?.said());
        let (name, quoted) = match found {
            Some(said) if said.seq == seq => (said.name.clone(), said.text.clone()),
            Some(_) | None => (String::new(), String::new()),
        };
        room.quote = Some(super::Quote { seq, name, text: quoted });
        let said = self.say_here(now, text);
        if said.is_err()
            && let Some(room) = self.room_mut()
        {
            room.quote = None;
        }
        said
    }

    fn message_to(&mut self, now: When, to: Target, text: Option<String>) -> Result<(), String> {
        let Target::User { user, label } = to else {
            return Err("/msg needs a user: /msg @ann TEXT".to_owned());
        };
        if text.is_some() {
            self.may_say()?;
        }
        let text = text.map(Text::try_from).transpose().map_err(|e| e.to_string())?;
        self.taken();
        let at = self.go_to_user(now, user);
        if let Some(text) = text {
            self.say_in(now, at, label, None, text);
        }
        Ok(())
    }

    /// Opens the conversation with a user.
    pub(super) fn go_to_user(&mut self, now: When, user: UserName) -> usize {
        let name = StreamName::Direct(user);
        if self.index_of(&name).is_none() {
            // Earlier messages of the conversation are requested.
            self.ask_for_marks(0);
        }
        let at = self.open(name);
        self.show(now, at);
        // The index may have changed, if the previous room has closed.
        self.current
    }

    /// Sets the bell or the notifications of the current room; none: shows the setting.
    fn set_alert(&mut self, now: When, wish: Option<Alert>, bell: bool) -> Result<(), String> {
        let otherwise = if bell { self.options.bell } else { self.options.notify };
        let what = if bell { "bell" } else { "notifications" };
        let room = self.room_mut().ok_or(sentences::NO_ROOM)?;
        let (title, name) = (room.title(), room.kept_name());
        let own = if bell { &mut room.alerts.bell } else { &mut room.alerts.notify };
        let Some(wish) = wish else {
            let text = match own.unwrap_or(otherwise) {
                Alert::Off => format!("{what} off in {title}"),
                Alert::Mentions => format!("{what} for mentions in {title}"),
                Alert::All => format!("{what} for all messages in {title}"),
            };
            self.note(now, NoteKind::Info, text);
            return Ok(());
        };
        *own = Some(wish);
        let (kept, touched) = if bell {
            (&mut self.saved.kept.bell, &mut self.saved.touched.bell)
        } else {
            (&mut self.saved.kept.notify, &mut self.saved.touched.notify)
        };
        kept.insert(name.clone(), wish.word().to_owned());
        touched.insert(name);
        self.keep_soon(now);
        // Shows the current setting.
        self.set_alert(now, None, bell)
    }

    fn ignore(&mut self, now: When, handle: &Handle) -> Result<(), String> {
        let (name, user) = (handle.to_string(), &self.options.look.user);
        if name == self.user.name || name == *user {
            return Err(format!(
                "can't ignore your own name ({name}); /ignore @{user}/LABEL ignores one label"
            ));
        }
        let text = format!("ignoring {name}; /unignore @{name} to stop");
        self.saved.kept.ignored.insert(name.clone());
        self.ignored_changed(now, name, text);
        Ok(())
    }

    fn unignore(&mut self, now: When, handle: &Handle) -> Result<(), String> {
        let name = handle.to_string();
        if !self.saved.kept.ignored.remove(&name) {
            return Err(format!("{name} is not ignored"));
        }
        let text = format!("no longer ignoring {name}");
        self.ignored_changed(now, name, text);
        Ok(())
    }

    fn ignored_changed(&mut self, now: When, name: String, text: String) {
        self.note(now, NoteKind::Info, text);
        self.saved.touched.ignored.insert(name);
        self.keep_soon(now);
    }

    fn list_ignored(&mut self, now: When) {
        let names: Vec<_> = self.saved.kept.ignored.iter().map(String::as_str).collect();
        let text = match names.as_slice() {
            [] => "no ignored users".to_owned(),
            names => format!("ignored: {}", names.join(", ")),
        };
        self.note(now, NoteKind::Info, text);
    }
}
