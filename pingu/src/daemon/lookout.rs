//! A look at the kernel waits for the lock of its network configuration (RTNL), which somebody else may hold for seconds: whoever removes
//! many interfaces, say; and among ten thousand routes it takes long itself. A thread looks, so that the probes wait for neither.

use std::{
    collections::BTreeMap,
    io, mem,
    net::IpAddr,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

use tokio::{runtime, sync::mpsc};

use crate::{
    netlink::{KernelRoutes, NetlinkError, RouteTable, ask::Questions},
    network::{Neighbour, Snapshot},
    units::{Ifindex, Protocol},
};

/// One look is under way at a time.
const QUEUE: usize = 1;

/// What a look saw.
pub(super) type Sight = Result<Snapshot, NetlinkError>;

/// Who looks.
pub(super) struct Lookout {
    ask: SyncSender<()>,
    sights: mpsc::Receiver<Sight>,
    is_under_way: bool,
    meanwhile: Meanwhile,
}

/// What the kernel told while a look was under way: whether that saw it already, nobody knows.
#[derive(Debug, Default)]
pub(super) struct Meanwhile {
    /// Something else than neighbours changed.
    pub(super) changed: bool,
    /// The latest news of each neighbour.
    neighbours: BTreeMap<(Ifindex, IpAddr), Neighbour>,
}

impl Meanwhile {
    /// Neighbours, as they were told last.
    pub(super) fn neighbours(&self) -> impl Iterator<Item = &Neighbour> {
        self.neighbours.values()
    }
}

impl Lookout {
    /// Starts the thread, in the caller's network namespace.
    pub(super) fn start(own: Protocol) -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        Self::start_with(move || {
            let (mut questions, mut routes) = (Questions::default(), None);
            move || {
                // No answer within seconds is a fault of the kernel's, but for those that somebody holds the lock.
                if let Err(error) = questions.wait_for_lock() {
                    tracing::debug!(%error, "cannot wait for the kernel's network configuration");
                }
                runtime.block_on(look(&mut routes, own))
            }
        })
    }

    /// What looks is opened by the thread itself.
    fn start_with<L: FnMut() -> Sight>(
        open: impl FnOnce() -> L + Send + 'static,
    ) -> io::Result<Self> {
        let (ask, asked) = sync_channel(QUEUE);
        let (tell, sights) = mpsc::channel(QUEUE);
        thread::Builder::new()
            .name("lookout".to_owned())
            .spawn(move || work(&asked, open(), &tell))?;
        Ok(Self {
            ask,
            sights,
            is_under_way: false,
            meanwhile: Meanwhile::default(),
        })
    }

    /// Asks for a look where none is under way. Whether one is: there is none without the thread.
    pub(super) fn ask(&mut self) -> bool {
        self.is_under_way |= self.ask.try_send(()).is_ok();
        self.is_under_way
    }

    /// Whether a look is under way.
    pub(super) fn is_under_way(&self) -> bool {
        self.is_under_way
    }

    /// Keeps what is told of a neighbour until the look that is under way has ended.
    pub(super) fn note_neighbour(&mut self, neighbour: &Neighbour) {
        if self.is_under_way {
            let key = (neighbour.ifindex, neighbour.address);
            self.meanwhile.neighbours.insert(key, neighbour.clone());
        }
    }

    /// Something has changed. Whether a look is under way, which may have seen it or not.
    pub(super) fn note_change(&mut self) -> bool {
        self.meanwhile.changed |= self.is_under_way;
        self.is_under_way
    }

    /// What the look that is under way saw; nothing if its thread has ended. Safe to cancel.
    pub(super) async fn seen(&mut self) -> Option<Sight> {
        self.sights.recv().await
    }

    /// The look has ended: what was told while it was under way.
    pub(super) fn end(&mut self) -> Meanwhile {
        self.is_under_way = false;
        mem::take(&mut self.meanwhile)
    }
}

fn work(asked: &Receiver<()>, mut look: impl FnMut() -> Sight, tell: &mpsc::Sender<Sight>) {
    while asked.recv().is_ok() {
        if tell.blocking_send(look()).is_err() {
            return;
        }
    }
}

/// Looks over the open connection, and over a new one where there is none or it has closed.
async fn look(routes: &mut Option<KernelRoutes>, own: Protocol) -> Sight {
    if let Some(open) = routes {
        match open.snapshot().await {
            Err(NetlinkError::Closed) => {
                tracing::warn!("the netlink connection closed, opening another");
            }
            sight => return sight,
        }
    }
    let opened = KernelRoutes::new(own).map_err(|_| NetlinkError::Closed)?;
    routes.insert(opened).snapshot().await
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;
    use crate::network::NeighbourState;

    fn wait_for(lookout: &mut Lookout) -> Option<Sight> {
        let runtime = runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(lookout.seen())
    }

    fn neighbour(last: u8, state: NeighbourState) -> Neighbour {
        Neighbour {
            ifindex: Ifindex(2),
            address: [10, 0, 0, last].into(),
            state,
        }
    }

    #[test]
    fn one_look_is_under_way_at_a_time_and_ends_no_earlier_than_it_has_seen() {
        let (let_go, held) = channel::<()>();
        let mut lookout = Lookout::start_with(move || {
            move || {
                held.recv().unwrap_or_default();
                Ok(Snapshot::default())
            }
        })
        .unwrap();
        assert!(!lookout.is_under_way());
        for _ in 0..3 {
            assert!(lookout.ask() && lookout.is_under_way());
        }
        assert!(lookout.sights.try_recv().is_err());
        let_go.send(()).unwrap();
        assert!(matches!(wait_for(&mut lookout), Some(Ok(_))));
        lookout.end();
        assert!(!lookout.is_under_way());
        assert!(lookout.ask());
    }

    #[test]
    fn what_is_told_while_a_look_is_under_way_is_kept_until_it_ends() {
        let mut lookout = Lookout::start_with(|| || Ok(Snapshot::default())).unwrap();
        let failed = neighbour(1, NeighbourState::Failed);
        lookout.note_neighbour(&failed);
        assert!(!lookout.note_change());
        assert!(lookout.ask());
        let (one, latest) = (
            neighbour(2, NeighbourState::Incomplete),
            neighbour(2, NeighbourState::Usable([2; 6])),
        );
        lookout.note_neighbour(&one);
        lookout.note_neighbour(&latest);
        assert!(wait_for(&mut lookout).is_some());
        assert!(lookout.note_change());
        let meanwhile = lookout.end();
        assert!(meanwhile.changed);
        assert_eq!(meanwhile.neighbours().collect::<Vec<_>>(), [&latest]);
        let later = lookout.end();
        assert!(!later.changed && later.neighbours().next().is_none());
    }

    #[test]
    fn without_its_thread_there_is_no_look() {
        let open = || || -> Sight { panic!("on purpose") };
        let mut lookout = Lookout::start_with(open).unwrap();
        assert!(lookout.ask());
        assert!(wait_for(&mut lookout).is_none());
        lookout.end();
        assert!(!lookout.ask() && !lookout.is_under_way());
    }
}
