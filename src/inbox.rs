//! The one queue into the election thread.
//!
//! It does not grow without bound, because each sender is bounded. A connection waits for its answer, a peer's thread
//! has one request under way, a call of the program waits for its result, and a program that changes its mind has one
//! nudge under way. While the election thread hangs, as on a disk, those who give up waiting leave their mail behind;
//! so requests and calls are refused while [`MOST_WAITING`] are there already.

use crossbeam_channel::{Receiver, Sender};

use crate::election::{NodeId, Reply, Request};
use crate::engine::{Answer, Call, Mail};

/// Far more than 64 nodes and their programs ever have under way at once.
const MOST_WAITING: usize = 4096;

pub(crate) type Caller = Sender<Answer>;
/// Where a caller hears its answers. It ends when the node stops.
pub(crate) type Answers = Receiver<Answer>;

/// One thing for the election thread.
#[derive(Debug)]
pub(crate) enum Post {
    /// A peer asks, and waits for the answer.
    Request { from: NodeId, request: Request, answer: Sender<Reply> },
    /// What the program is and wants has changed.
    Program,
    /// Everything else is stepped as it comes.
    Mail(Mail<Caller>),
}

/// The way into the queue.
#[derive(Debug, Clone)]
pub(crate) struct Inbox(Sender<Post>);

impl Inbox {
    pub(crate) fn new() -> (Inbox, Receiver<Post>) {
        let (inbox, posts) = crossbeam_channel::unbounded();
        (Inbox(inbox), posts)
    }

    /// Has a request of a peer answered. The answer never comes if the node stops, or has too much to do.
    pub(crate) fn request(&self, from: NodeId, request: Request) -> Receiver<Reply> {
        let (answer, answered) = crossbeam_channel::bounded(1);
        if self.0.len() < MOST_WAITING {
            self.post(Post::Request { from, request, answer });
        }
        answered
    }

    /// Calls the node. The answers end at once if it stops, or has too much to do.
    pub(crate) fn call(&self, call: Call) -> Answers {
        // Room for both answers: the election thread never waits for a caller.
        let (caller, answers) = crossbeam_channel::bounded(2);
        // The end of work is told in any case: it comes once for each term.
        if self.0.len() < MOST_WAITING || matches!(call, Call::WorkEnds { .. }) {
            self.mail(Mail::Call { call, caller });
        }
        answers
    }

    /// Tells the node something that is stepped as it comes.
    pub(crate) fn mail(&self, mail: Mail<Caller>) {
        self.post(Post::Mail(mail));
    }

    /// Tells the node something. A node that has stopped needs to know nothing.
    pub(crate) fn post(&self, post: Post) {
        let _ = self.0.send(post);
    }
}
