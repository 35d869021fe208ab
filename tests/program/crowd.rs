//! Many members at once, killed, stopped and started: everybody's stream is the room's order.
