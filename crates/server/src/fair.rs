//! Fairness: whoever floods the server waits for himself, not others for him.
//!
//! So many requests run at once. When all places are taken, requests wait in a queue of their user, and each place that
//! becomes free goes to the next user in turn. A user's queue has an end, past which requests are turned away at once.
//!
//! Places bound what is held, and not who computes: a request that needs nothing but a core has its place for that long only,
//! however many stand in line for the core. So a request computes in a [`Turn`], of which each user has a few, and begins
//! when those have had theirs who were there before. The line for a core then holds a few requests of each user.
//!
//! Who waits for somebody outside, a webhook or nodes that say what they use, leaves the place to others meanwhile: see
//! [`outside`].

use std::collections::{HashMap, VecDeque};
use std::future::{Future, poll_fn};
use std::num::NonZero;
use std::pin::pin;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use parking_lot::Mutex;
use shoal_api::Status;
use shoal_control::rbac::User;
use tokio::sync::oneshot;

/// Requests for one object that run at once. They compute little; writes wait for the disk together, and one sync is for
/// all of them.
pub const SHORT: usize = 64;
/// Lists that run at once for each core. They compute, and whoever has a place stands in line for a core: few places,
/// and the line is short.
const LISTS_PER_CORE: usize = 2;
/// Requests of one user that wait. A client that has more in flight is told to slow down.
pub const QUEUE_MAX: usize = 128;
/// Requests of one user that compute or stand in line for a core, for each core. One computes, and the next is there when it
/// has done.
const TURNS_PER_CORE: usize = 2;
/// Requests of one user that wait for a turn: what a controller begins at once when it starts, and more.
const CROWD_MAX: usize = 512;
/// Requests that wait outside without their place. Where more do, they keep it.
const OUTSIDE_MAX: usize = 256;
/// When a client that was turned away should come again, in seconds.
const RETRY_SECONDS: u32 = 1;
/// How long who wants one turn too many waits to hear so. To say it at once would cost as much as what was asked for, from
/// each of those who do not care when they should come again.
const REFUSED_AFTER: Duration = Duration::from_secs(1);

/// Gives out places.
#[derive(Clone)]
pub struct Fair {
    short: Lane,
    lists: Lane,
    outside: Lane,
    turns: Turns,
}

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// It reads or writes one object.
    Short,
    /// It reads as many as there are.
    List,
}

/// The places for one sort of requests.
#[derive(Clone)]
struct Lane {
    places: usize,
    state: Arc<Mutex<State>>,
}

/// Held while a request runs.
#[must_use]
pub struct Place(Lane);

/// The turns of all users.
#[derive(Clone)]
struct Turns {
    each: usize,
    users: Arc<Mutex<HashMap<Arc<str>, Crowd>>>,
}

/// The requests of one user that want to compute.
#[derive(Default)]
struct Crowd {
    running: usize,
    waiting: Queue<Turn>,
}

/// Requests of one user that wait for a place or a turn.
struct Queue<P>(VecDeque<oneshot::Sender<P>>);

/// Held while a request computes.
#[must_use]
pub struct Turn {
    turns: Turns,
    user: Arc<str>,
}

#[derive(Default)]
struct State {
    running: usize,
    waiting: HashMap<Arc<str>, Queue<Place>>,
    /// Users that wait, the next first; each once.
    turns: VecDeque<Arc<str>>,
}

impl Default for Fair {
    fn default() -> Self {
        Self::new(available_parallelism().map_or(1, NonZero::get))
    }
}

impl Fair {
    /// For so many cores.
    pub fn new(cores: usize) -> Self {
        let lane = |places| Lane { places, state: Arc::default() };
        Self {
            short: lane(SHORT),
            lists: lane(cores * LISTS_PER_CORE),
            outside: lane(OUTSIDE_MAX),
            turns: Turns { each: cores * TURNS_PER_CORE, users: Arc::default() },
        }
    }

    /// A turn for a request of a user, when those have had theirs who were there before. Dropping the future gives up the
    /// place in the queue.
    ///
    /// # Errors
    /// 429 after a second: too many requests of this user wait already.
    pub async fn turn(&self, user: &str) -> Result<Turn, Status> {
        let turn = match self.turns.ask(user) {
            Asked::Has(turn) => turn,
            Asked::Waits(turn) => turn.await.map_err(|_| shutting_down())?,
            Asked::TooMany => {
                tokio::time::sleep(REFUSED_AFTER).await;
                return Err(too_many());
            }
        };
        tokio::task::yield_now().await;
        Ok(turn)
    }

    /// A place for a request of a user. Dropping the future gives up the place in the queue.
    ///
    /// # Errors
    /// 429: too many requests of this user wait already.
    pub async fn place(&self, user: &str, work: Work) -> Result<Place, Status> {
        let lane = match work {
            Work::Short => &self.short,
            Work::List => &self.lists,
        };
        lane.place(user).await
    }

    /// Does the work of a request of a user who has this place, and gives it back at the end.
    pub async fn with<T>(&self, place: Place, user: Arc<User>, work: impl Future<Output = T>) -> T {
        let held = Held {
            lane: place.0.clone(),
            outside: self.outside.clone(),
            user,
            place: Mutex::new(Some(place)),
        };
        HELD.scope(Arc::new(held), work).await
    }

    /// Requests that have a place, and that wait for one or for a turn.
    pub fn load(&self) -> (usize, usize) {
        let [short, lists, outside] = [&self.short, &self.lists, &self.outside].map(Lane::load);
        (short.0 + lists.0 + outside.0, short.1 + lists.1 + self.turns.waiting())
    }
}

tokio::task_local! {
    /// The place of the request that a task answers.
    static HELD: Arc<Held>;
}

struct Held {
    lane: Lane,
    outside: Lane,
    user: Arc<User>,
    /// None: it waits outside.
    place: Mutex<Option<Place>>,
}

/// Waits for somebody else while the request that this task answers, if it does, leaves its place to others. It goes on when
/// it has one again.
pub async fn outside<T>(wait: impl Future<Output = T>) -> T {
    let held = HELD.try_with(Arc::clone).ok();
    let left = held.as_ref().and_then(|held| Some((held, held.leave()?)));
    let Some((held, gone)) = left else { return wait.await };
    let came = wait.await;
    drop(gone);
    let place = held.lane.again(&held.user.name).await;
    *held.place.lock() = place;
    came
}

impl Held {
    /// A place outside; none: there is no room, or the request has left already.
    fn leave(&self) -> Option<Place> {
        let mut place = self.place.lock();
        place.as_ref()?;
        let outside = self.outside.at_once()?;
        drop(place.take());
        Some(outside)
    }
}

impl Turn {
    /// Computes until there is something to wait for, the disk or another machine: whoever waits needs no core.
    pub async fn compute<T>(self, work: impl Future<Output = T>) -> T {
        let (mut turn, mut work) = (Some(self), pin!(work));
        poll_fn(|context| {
            let polled = work.as_mut().poll(context);
            turn.take();
            polled
        })
        .await
    }
}

/// What comes of asking for a turn.
enum Asked {
    Has(Turn),
    Waits(oneshot::Receiver<Turn>),
    TooMany,
}

impl Turns {
    fn ask(&self, user: &str) -> Asked {
        let mut users = self.users.lock();
        let Some(crowd) = users.get_mut(user) else {
            let user: Arc<str> = user.into();
            users.insert(user.clone(), Crowd { running: 1, ..Crowd::default() });
            return Asked::Has(Turn { turns: self.clone(), user });
        };
        if crowd.running < self.each {
            crowd.running += 1;
            return Asked::Has(Turn { turns: self.clone(), user: user.into() });
        }
        if crowd.waiting.is_full(CROWD_MAX) {
            return Asked::TooMany;
        }
        Asked::Waits(crowd.waiting.stand())
    }

    /// Who of a user has the turn that has become free; none: nobody waits, and it is given back.
    fn next(&self, user: &str) -> Option<oneshot::Sender<Turn>> {
        let mut users = self.users.lock();
        let crowd = users.get_mut(user)?;
        let next = crowd.waiting.next();
        if next.is_none() {
            crowd.running -= 1;
            if crowd.running == 0 {
                users.remove(user);
            }
        }
        next
    }

    fn waiting(&self) -> usize {
        self.users.lock().values().map(|crowd| crowd.waiting.0.len()).sum()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(next) = self.turns.next(&self.user) {
            // Whoever gave up meanwhile drops the turn, which goes on to the next.
            drop(next.send(Self { turns: self.turns.clone(), user: self.user.clone() }));
        }
    }
}

impl Lane {
    async fn place(&self, user: &str) -> Result<Place, Status> {
        if let Some(place) = self.at_once() {
            return Ok(place);
        }
        let turn = self.state.lock().wait(user)?;
        turn.await.map_err(|_| shutting_down())
    }

    /// A place for who had one before: not turned away, as what was begun is to be finished.
    async fn again(&self, user: &str) -> Option<Place> {
        if let Some(place) = self.at_once() {
            return Some(place);
        }
        let turn = self.state.lock().stand(user);
        turn.await.ok()
    }

    fn at_once(&self) -> Option<Place> {
        let mut state = self.state.lock();
        let has_room = state.running < self.places;
        state.running += usize::from(has_room);
        has_room.then(|| Place(self.clone()))
    }

    fn load(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.running, state.waiting.values().map(|queue| queue.0.len()).sum())
    }
}

impl State {
    fn wait(&mut self, user: &str) -> Result<oneshot::Receiver<Place>, Status> {
        if self.waiting.get_mut(user).is_some_and(|queue| queue.is_full(QUEUE_MAX)) {
            return Err(too_many());
        }
        Ok(self.stand(user))
    }

    /// Gets in line, however long it is.
    fn stand(&mut self, user: &str) -> oneshot::Receiver<Place> {
        let user: Arc<str> = user.into();
        if !self.turns.contains(&user) {
            self.turns.push_back(user.clone());
        }
        self.waiting.entry(user).or_default().stand()
    }

    /// Who is next; users that wait for more go to the end.
    fn next(&mut self) -> Option<oneshot::Sender<Place>> {
        while let Some(user) = self.turns.pop_front() {
            let Some(queue) = self.waiting.get_mut(&user) else { continue };
            let turn = queue.next();
            if queue.0.is_empty() {
                self.waiting.remove(&user);
            } else {
                self.turns.push_back(user);
            }
            if turn.is_some() {
                return turn;
            }
        }
        None
    }
}

impl<P> Default for Queue<P> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<P> Queue<P> {
    /// Whether so many wait; those that have given up do not count.
    fn is_full(&mut self, most: usize) -> bool {
        self.0.retain(|turn| !turn.is_closed());
        self.0.len() >= most
    }

    fn stand(&mut self) -> oneshot::Receiver<P> {
        let (turn, taken) = oneshot::channel();
        self.0.push_back(turn);
        taken
    }

    /// The first that has not given up.
    fn next(&mut self) -> Option<oneshot::Sender<P>> {
        while let Some(turn) = self.0.pop_front() {
            if !turn.is_closed() {
                return Some(turn);
            }
        }
        None
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let next = {
            let mut state = self.0.state.lock();
            let next = state.next();
            if next.is_none() {
                state.running -= 1;
            }
            next
        };
        if let Some(turn) = next {
            // Whoever gave up meanwhile drops the place, which goes on to the next.
            drop(turn.send(Self(self.0.clone())));
        }
    }
}

fn too_many() -> Status {
    Status::too_many_requests("too many requests, please try again later", RETRY_SECONDS)
}

/// A sender is dropped only with the server.
fn shutting_down() -> Status {
    Status::unavailable("the server is shutting down")
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::task::JoinHandle;
    use tokio::time::Instant;

    use super::*;

    fn user(name: &str) -> Arc<User> {
        Arc::new(User::new(name, &[]))
    }

    async fn fill(fair: &Fair, user: &str) -> Vec<Place> {
        let mut places = Vec::new();
        for _ in 0..SHORT {
            places.push(fair.place(user, Work::Short).await.expect("room"));
        }
        places
    }

    #[tokio::test]
    async fn a_flood_waits_for_itself() {
        let fair = Fair::default();
        let mut places = fill(&fair, "flood").await;
        let mut flood: Vec<_> = (0..QUEUE_MAX).map(|_| Box::pin(fair.place("flood", Work::Short))).collect();
        for one in &mut flood {
            assert!(one.now_or_never().is_none());
        }
        assert_eq!(fair.place("flood", Work::Short).await.err().map(|status| status.code), Some(429));
        let mut other = Box::pin(fair.place("other", Work::Short));
        assert!((&mut other).now_or_never().is_none());

        // The first place goes to the flood, which has waited longer; the second to the other.
        drop(places.pop());
        assert!((&mut other).now_or_never().is_none());
        drop(places.pop());
        assert!((&mut other).now_or_never().is_some_and(|place| place.is_ok()));
    }

    #[tokio::test]
    async fn who_gives_up_takes_no_place() {
        let fair = Fair::default();
        let mut places = fill(&fair, "a").await;
        let mut gone = Box::pin(fair.place("b", Work::Short));
        assert!((&mut gone).now_or_never().is_none());
        let mut stays = Box::pin(fair.place("c", Work::Short));
        assert!((&mut stays).now_or_never().is_none());
        drop(gone);
        drop(places.pop());
        assert!((&mut stays).now_or_never().is_some_and(|place| place.is_ok()));
        drop(places);
        assert_eq!(fair.load(), (0, 0));
    }

    #[tokio::test]
    async fn who_waits_outside_leaves_the_place_to_others() {
        let fair = Fair::new(1);
        let (mut answers, mut waiting) = (Vec::new(), Vec::new());
        for _ in 0..LISTS_PER_CORE {
            let place = fair.place("slow", Work::List).await.expect("room");
            let (answer, came) = oneshot::channel::<u8>();
            answers.push(answer);
            waiting.push(Box::pin(fair.with(place, user("slow"), outside(came))));
        }
        assert!(fair.place("other", Work::List).now_or_never().is_none(), "all places are taken");
        for one in &mut waiting {
            assert!(one.now_or_never().is_none());
        }
        let mut others = Vec::new();
        for _ in 0..LISTS_PER_CORE {
            others.push(fair.place("other", Work::List).await.expect("they have left theirs"));
        }
        // Whoever has heard what was waited for goes on in turn.
        answers.pop().expect("one").send(7).expect("somebody waits");
        let mut back = waiting.pop().expect("one");
        assert!((&mut back).now_or_never().is_none());
        drop(others.pop());
        assert_eq!(back.await, Ok(7));
        drop((waiting, others));
        assert_eq!(fair.load(), (0, 0));
    }

    #[tokio::test]
    async fn so_many_wait_outside_and_more_keep_their_place() {
        let fair = Fair::new(1);
        let full: Vec<_> = std::iter::from_fn(|| fair.outside.at_once()).collect();
        assert_eq!(full.len(), OUTSIDE_MAX);
        let place = fair.place("slow", Work::List).await.expect("room");
        let mut waiting = Box::pin(fair.with(place, user("slow"), outside(std::future::pending::<()>())));
        assert!((&mut waiting).now_or_never().is_none());
        assert_eq!(fair.lists.load(), (1, 0));
        assert_eq!(outside(async { 7 }).await, 7, "who has no place keeps none");
    }

    /// Waits for a turn of a user and notes when it has computed.
    fn computes(fair: &Fair, user: &'static str, done: &Arc<Mutex<Vec<&'static str>>>) -> JoinHandle<()> {
        let (fair, done) = (fair.clone(), done.clone());
        tokio::spawn(async move {
            let turn = fair.turn(user).await.expect("there is room in the queue");
            turn.compute(async { done.lock().push(user) }).await;
        })
    }

    #[tokio::test]
    async fn who_has_one_request_computes_among_the_first_of_a_crowd() {
        let (fair, done) = (Fair::new(1), Arc::default());
        let mut tasks: Vec<_> = (0..CROWD_MAX).map(|_| computes(&fair, "flood", &done)).collect();
        tasks.push(computes(&fair, "other", &done));
        for task in tasks {
            task.await.expect("it ends");
        }
        let done = done.lock();
        let before = done.iter().position(|user| *user == "other");
        assert!(before.is_some_and(|before| before <= 2 * TURNS_PER_CORE), "{before:?}");
        assert_eq!(done.len(), CROWD_MAX + 1);
        assert!(fair.turns.users.lock().is_empty(), "nobody is remembered who has nothing to do");
    }

    #[tokio::test]
    async fn who_waits_for_the_disk_leaves_the_turn_to_others() {
        let fair = Fair::new(1);
        let (mut waiting, mut disks) = (Vec::new(), Vec::new());
        for _ in 0..3 * TURNS_PER_CORE {
            let (disk, synced) = oneshot::channel::<u8>();
            let turn = fair.turn("a").await.expect("a turn");
            waiting.push(Box::pin(turn.compute(synced)));
            assert!(waiting.last_mut().expect("one").now_or_never().is_none());
            disks.push(disk);
        }
        for (disk, one) in disks.into_iter().zip(waiting) {
            disk.send(7).expect("it is waited for");
            assert_eq!(one.await, Ok(7));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_queue_for_turns_has_an_end() {
        let fair = Fair::new(1);
        let mut turns = Vec::new();
        for _ in 0..TURNS_PER_CORE {
            turns.push(fair.turn("a").await.expect("a turn"));
        }
        let mut queue: Vec<_> = (0..CROWD_MAX).map(|_| Box::pin(fair.turn("a"))).collect();
        for one in &mut queue {
            assert!(one.now_or_never().is_none());
        }
        assert_eq!(fair.load(), (0, CROWD_MAX));
        let begun = Instant::now();
        assert_eq!(fair.turn("a").await.err().map(|status| status.code), Some(429));
        assert!(begun.elapsed() >= REFUSED_AFTER, "who does not care does not come more often");
        assert!(fair.turn("b").await.is_ok());
        // Whoever gives up makes room.
        queue.pop();
        let mut last = Box::pin(fair.turn("a"));
        assert!((&mut last).now_or_never().is_none());
        drop((turns, queue));
        assert!(last.await.is_ok(), "what was free went on to who still waits");
        assert!(fair.turns.users.lock().is_empty());
    }

    #[tokio::test]
    async fn lists_have_a_few_places_of_their_own() {
        let fair = Fair::new(3);
        let short = fill(&fair, "writer").await;
        let mut lists = Vec::new();
        for _ in 0..3 * LISTS_PER_CORE {
            lists.push(fair.place("reader", Work::List).await.expect("room"));
        }
        let mut next = Box::pin(fair.place("reader", Work::List));
        assert!((&mut next).now_or_never().is_none());
        assert_eq!(fair.load(), (short.len() + lists.len(), 1));
        drop(short);
        assert!((&mut next).now_or_never().is_none());
        lists.pop();
        assert!((&mut next).now_or_never().is_some_and(|place| place.is_ok()));
    }
}
