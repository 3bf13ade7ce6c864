//! Answers to those who ask at the control socket.

use super::{Daemon, clock, time_of_day};
use crate::control::{Answer, Ask, Request};

impl Daemon {
    pub(super) fn answer(&mut self, request: Request) {
        match request.ask {
            Ask::Status => {
                self.telling.ask(request.reply);
                self.tell();
            }
            Ask::Why(name) => {
                let paths = self.engine.paths_of(name.as_deref());
                self.engine.count_packets(paths, &self.transport, clock());
                let why = self.engine.why(name.as_deref(), clock(), time_of_day());
                request.reply.send(&match why {
                    Ok(why) => Answer::Ok(why),
                    Err(error) => Answer::Error(error),
                });
            }
            Ask::Pin(name) => self.pin(name.as_deref(), request.reply),
        }
    }
}
