//! Other processes and users try to speak as the server; nothing is shown at any member.
