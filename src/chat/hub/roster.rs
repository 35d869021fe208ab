//! Rosters of linked hosts: their sessions become rows of the presence table.

use super::{Action, Hub};
use crate::chat::{clock::Now, linked::Roster, member::SessionId};

impl Hub {
    /// Shows the sessions of another host.
    pub(super) fn show_roster(&mut self, now: Now, id: SessionId, mut roster: Roster) {
        for member in &mut roster.members {
            // Rooms that do not exist here are not shown, and a private one is shown to no one.
            member.rooms.retain(|room| {
                let tag = self.directory.room(room);
                let rules = tag.and_then(|tag| self.room_rules(tag));
                rules.is_some_and(|(_, _, rules)| !rules.private)
            });
        }
        self.looked_at(roster.members.len());
        let (changed, gone) = self.remote_rows.add(now, id, roster);
        for row in changed {
            self.out.push(Action::Row(Box::new(row)));
        }
        for session in gone {
            self.out.push(Action::RowGone(session));
        }
    }

    /// Removes the rows of an ended link.
    pub(super) fn remote_rows_ended(&mut self, now: Now, id: SessionId) {
        for session in self.remote_rows.take_of(now, id) {
            self.out.push(Action::RowGone(session));
        }
    }
}
