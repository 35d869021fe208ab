//! Several user ids on one host: who may in, who is called what.
