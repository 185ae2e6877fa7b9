//! The one queue into the election thread.
//!
//! It does not grow without bound, because each sender is bounded. A connection waits for its answer, a peer's thread
//! has one request under way, a call of the program waits for its result, and a program that changes its mind has one
//! nudge under way. While the election thread hangs, as on a disk, those who give up waiting leave their mail behind;
//! so requests and calls are refused while [`MOST_WAITING`] are there already.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::{Receiver, Sender};
use serde::{Serialize, Serializer};

use crate::election::{NodeId, Reply, Request};
use crate::engine::{Answer, Call, Mail};

/// Far more than 64 nodes and their programs ever have under way at once.
const MOST_WAITING: usize = 4096;

/// Who has called, and waits for an answer. A recording has the number.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    number: u64,
    answers: Sender<Answer>,
}

impl Caller {
    /// A caller that has gone needs no answer.
    pub(crate) fn answer(&self, answer: Answer) {
        let _ = self.answers.try_send(answer);
    }
}

impl Serialize for Caller {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.number)
    }
}

impl Hash for Caller {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.number.hash(state);
    }
}

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
pub(crate) struct Inbox {
    posts: Sender<Post>,
    /// How many have called.
    calls: Arc<AtomicU64>,
}

impl Inbox {
    pub(crate) fn new() -> (Inbox, Receiver<Post>) {
        let (inbox, posts) = crossbeam_channel::unbounded();
        (Inbox { posts: inbox, calls: Arc::default() }, posts)
    }

    /// Has a request of a peer answered. The answer never comes if the node stops, or has too much to do.
    pub(crate) fn request(&self, from: NodeId, request: Request) -> Receiver<Reply> {
        let (answer, answered) = crossbeam_channel::bounded(1);
        if self.posts.len() < MOST_WAITING {
            self.post(Post::Request { from, request, answer });
        }
        answered
    }

    /// Calls the node. The answers end at once if it stops, or has too much to do.
    pub(crate) fn call(&self, call: Call) -> Answers {
        // Room for both answers: the election thread never waits for a caller.
        let (answers, answered) = crossbeam_channel::bounded(2);
        let caller = Caller { number: self.calls.fetch_add(1, Ordering::Relaxed), answers };
        // The end of work is told in any case: it comes once for each term.
        if self.posts.len() < MOST_WAITING || matches!(call, Call::WorkEnds { .. }) {
            self.mail(Mail::Call { call, caller });
        }
        answered
    }

    /// Tells the node something that is stepped as it comes.
    pub(crate) fn mail(&self, mail: Mail<Caller>) {
        self.post(Post::Mail(mail));
    }

    /// Tells the node something. A node that has stopped needs to know nothing.
    pub(crate) fn post(&self, post: Post) {
        let _ = self.posts.send(post);
    }
}
