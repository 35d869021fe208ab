//! Limit of what one turn takes from one session, by what its account may still have.

use crate::{
    faults::{Fault, planted},
    limits::{REQUESTS_PER_TURN_MAX, SIGNS_PER_TURN_MAX},
    wire::frame::Kind,
};

/// Requests and signs of life that one session has sent in this turn.
#[derive(Debug, Default)]
pub(super) struct Allowance {
    questions: usize,
    signs: usize,
}

impl Allowance {
    /// Returns true if a frame is taken now; else it waits for a later turn. Once the account has
    /// `spent` its turn, only a little is taken of what keeps a member alive and its windows open.
    pub(super) fn admits(&mut self, kind: Kind, spent: bool) -> bool {
        self.questions += usize::from(matches!(kind, Kind::Request | Kind::Status));
        if self.questions > REQUESTS_PER_TURN_MAX {
            return false;
        }
        if !spent {
            return true;
        }
        let is_sign = matches!(kind, Kind::Report | Kind::Pong);
        self.signs += usize::from(is_sign);
        is_sign && (self.signs <= SIGNS_PER_TURN_MAX || planted(Fault::SignsTakenAtAnyTime))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(kinds: &[Kind], spent: bool) -> usize {
        let mut allowance = Allowance::default();
        kinds.iter().take_while(|kind| allowance.admits(**kind, spent)).count()
    }

    #[test]
    fn signs_of_a_spent_account_wait_like_everything_else() {
        let signs = [Kind::Pong, Kind::Report].repeat(500);
        assert_eq!(admitted(&signs, true), SIGNS_PER_TURN_MAX);
        assert_eq!(admitted(&[Kind::Submit], true), 0);
        assert_eq!(admitted(&[Kind::Pong, Kind::Request], true), 1);
    }

    #[test]
    fn session_within_its_share_is_not_held_back() {
        let signs = [Kind::Pong, Kind::Report, Kind::Submit, Kind::Repair].repeat(500);
        assert_eq!(admitted(&signs, false), 2_000);
        let questions = [Kind::Request, Kind::Status].repeat(500);
        assert_eq!(admitted(&questions, false), REQUESTS_PER_TURN_MAX);
    }
}
