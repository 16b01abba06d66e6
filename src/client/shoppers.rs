//! The demo's simulated shoppers: seeded visitors who browse, search, fill carts and sometimes buy.
//!
//! Each shopper holds one real socket, as a browser would, tracks the events of the demo catalog,
//! subscribes to actions and reacts to some of them. What a shopper does depends on the seed alone;
//! message ids also carry the time of the start, because the same visits on another day are new.

use super::Error;
use super::connection::Connection;
use super::frame::{self, Frame, Hello, PushedAction, Track};
use serde_json::{json, value::to_raw_value};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A product of the demo shop: path, name, price, category; as `web/shop/products.ts` has them.
type Product = (&'static str, &'static str, f64, &'static str);

/// What the shoppers look at.
const PRODUCTS: &[Product] = &[
    ("heron-kettle", "Heron kettle", 68.0, "Brew"),
    ("tide-mug", "Tide mug", 18.0, "Brew"),
    ("dusk-lamp", "Dusk table lamp", 94.0, "Light"),
    ("ember-lantern", "Ember lantern", 46.0, "Light"),
    ("fjell-throw", "Fjell wool throw", 120.0, "Rest"),
    ("loam-planter", "Loam planter", 32.0, "Rest"),
    ("ridge-daypack", "Ridge daypack", 110.0, "Carry"),
    ("quill-notebook", "Quill notebook", 16.0, "Carry"),
];

const QUERIES: &[&str] = &["mug", "gift", "wool", "lamp", "lantern", "kettle", "bag", "under 50"];

/// Who shops, where and how fast.
#[derive(Clone, Debug)]
pub struct ShopperArgs {
    /// Server, such as `ws://127.0.0.1:8080`.
    pub url: String,
    /// Public channel token.
    pub token: String,
    /// Shoppers at a time, one socket each.
    pub shoppers: usize,
    /// Events per second of one shopper, on average.
    pub events_per_second: f64,
    /// Seed of everything that they do.
    pub seed: u64,
    /// Ends them.
    pub stop: CancellationToken,
}

/// Lets the shoppers shop in the background until they are stopped. They come back a few seconds after
/// losing the connection.
#[must_use]
pub fn spawn(args: ShopperArgs) -> JoinHandle<()> {
    tokio::spawn(run(args))
}

/// Lets the shoppers shop until they are stopped.
pub async fn run(args: ShopperArgs) {
    let started_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let mut tasks = JoinSet::new();
    for index in 0..args.shoppers {
        let shopper = Shopper {
            url: args.url.clone(),
            token: args.token.clone(),
            pause_s: 1.0 / args.events_per_second.max(0.001),
            random: Random::new(args.seed, index as u64),
            name: format!("{:x}-{index}", args.seed),
            start: format!("{started_ms:x}"),
            visitor: 0,
            messages: 0,
        };
        let stop = args.stop.clone();
        // A join set, so that dropping this future ends the shoppers as well.
        tasks.spawn(async move { stop.run_until_cancelled(shopper.shop()).await });
    }
    while tasks.join_next().await.is_some() {}
}

/// SplitMix64: small, seedable, and good enough for pretending.
struct Random(u64);

impl Random {
    fn new(seed: u64, stream: u64) -> Self {
        Self(seed ^ stream.wrapping_add(1).wrapping_mul(0xD6E8_FEB8_6659_FD93))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Between 0 and 1, without 1.
    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn chance(&mut self, probability: f64) -> bool {
        self.fraction() < probability
    }

    fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[(self.next() % list.len() as u64) as usize]
    }

    /// A pause with an exponential distribution, at most ten times its mean.
    fn pause(&mut self, mean_s: f64) -> Duration {
        let s = -(1.0 - self.fraction()).ln() * mean_s;
        Duration::from_secs_f64(s.clamp(0.0, mean_s * 10.0))
    }
}

struct Shopper {
    url: String,
    token: String,
    pause_s: f64,
    random: Random,
    name: String,
    start: String,
    visitor: u64,
    messages: u64,
}

/// What happens next in a visit.
enum Step {
    View(Product),
    Search(&'static str),
    Add(Product),
    Checkout,
    Purchase,
    Leave,
}

/// What a visit remembers.
#[derive(Default)]
struct Visit {
    viewed: Option<Product>,
    cart: Vec<Product>,
    paying: bool,
    steps: u32,
}

impl Visit {
    fn next(&self, random: &mut Random) -> Step {
        if self.paying {
            return if random.chance(0.65) { Step::Purchase } else { Step::Leave };
        }
        let roll = random.fraction();
        match (self.viewed, roll) {
            _ if self.steps > 3 && roll < 0.06 => Step::Leave,
            (_, roll) if roll < 0.18 => Step::Search(random.pick(QUERIES)),
            (Some(product), roll) if roll < 0.36 => Step::Add(product),
            _ if roll < 0.46 && !self.cart.is_empty() => Step::Checkout,
            _ => Step::View(random.pick(PRODUCTS)),
        }
    }

    fn total(&self) -> f64 {
        let cents: f64 = self.cart.iter().map(|(_, _, price, _)| (price * 100.0).round()).sum();
        cents / 100.0
    }
}

impl Shopper {
    /// Visit after visit; half of them by somebody new.
    async fn shop(mut self) {
        loop {
            let start = self.random.pause(self.pause_s);
            tokio::time::sleep(start).await;
            if let Err(error) = Box::pin(self.visit()).await {
                tracing::debug!(%error, "a shopper lost the connection");
                let wait = self.random.pause(2.0) + Duration::from_millis(500);
                tokio::time::sleep(wait).await;
            }
            if self.random.chance(0.5) {
                self.visitor += 1;
            }
        }
    }

    async fn visit(&mut self) -> Result<(), Error> {
        let hello = Hello {
            token: self.token.clone(),
            anonymous_id: Some(format!("shopper-{}-{}", self.name, self.visitor)),
            context: Some(json!({"path": "/"})),
            ..Hello::default()
        };
        let mut connection = Connection::open(&self.url, &hello).await?;
        connection.spend(1, frame::subscribe("sub", None)).await?;
        let mut visit = Visit::default();
        loop {
            let pause = self.random.pause(self.pause_s);
            self.look_around(&mut connection, Instant::now() + pause).await?;
            if connection.credit() == 0 {
                continue;
            }
            let step = visit.next(&mut self.random);
            let (event, properties, path) = match step {
                Step::Leave => break,
                Step::View(product @ (id, name, price, category)) => {
                    visit.viewed = Some(product);
                    ("Product Viewed", json!({"product": name, "price": price, "category": category}), format!("/product/{id}"))
                }
                Step::Search(query) => ("Searched", json!({"query": query}), "/search".to_owned()),
                Step::Add(product @ (id, name, price, _)) => {
                    visit.cart.push(product);
                    visit.viewed = None;
                    ("Product Added", json!({"product": name, "price": price, "quantity": 1}), format!("/product/{id}"))
                }
                Step::Checkout => {
                    visit.paying = true;
                    ("Checkout Started", json!({"total": visit.total(), "items": visit.cart.len()}), "/checkout".to_owned())
                }
                Step::Purchase => {
                    let properties = json!({"amount": visit.total(), "items": visit.cart.len()});
                    visit = Visit { steps: visit.steps, ..Visit::default() };
                    ("Purchase", properties, "/thanks".to_owned())
                }
            };
            visit.steps += 1;
            let raw = |value| to_raw_value(&value).expect("a JSON value is JSON");
            let (properties, context) = (raw(properties), raw(json!({"path": path})));
            let id = self.message_id();
            let mut track = Track::new(&id, event);
            track.properties = Some(&properties);
            track.context = Some(&context);
            connection.spend(1, track.to_text()).await?;
        }
        // What was sent last should count, so its acknowledgement is awaited for a moment.
        self.look_around(&mut connection, Instant::now() + Duration::from_millis(200)).await?;
        connection.close().await;
        Ok(())
    }

    /// Reads frames until a moment, and reacts to pushed actions.
    async fn look_around(&mut self, connection: &mut Connection, until: Instant) -> Result<(), Error> {
        // A visitor who thinks for long still shows signs of life.
        let mut ping = tokio::time::interval(Duration::from_secs(20));
        ping.tick().await;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(until) => return Ok(()),
                _ = ping.tick() => connection.send("{\"t\":\"ping\",\"id\":\"p\"}".into()).await?,
                next = connection.next() => match next? {
                    Frame::Subscribed { seq, actions } => {
                        connection.send(frame::seen(seq)).await?;
                        for action in actions {
                            self.react(connection, &action).await?;
                        }
                    }
                    Frame::Action { seq, action } => {
                        connection.send(frame::seen(seq)).await?;
                        self.react(connection, &action).await?;
                    }
                    Frame::Error { code, message, fatal: true, .. } => return Err(Error::Refused { code, message }),
                    _ => {}
                },
            }
        }
    }

    /// Everybody sees a banner; a third takes the offer, a fifth waves it away. What there are only a few of is
    /// left to whoever watches: shoppers would have it all within minutes.
    async fn react(&mut self, connection: &mut Connection, action: &PushedAction) -> Result<(), Error> {
        let verb = match self.random.fraction() {
            roll if roll < 0.35 && action.kind != "deal" => Some("accept"),
            roll if roll < 0.55 => Some("decline"),
            _ => None,
        };
        for verb in ["show"].into_iter().chain(verb) {
            if connection.credit() == 0 {
                return Ok(());
            }
            let id = self.message_id();
            connection.spend(1, frame::act(&id, action, verb)).await?;
        }
        Ok(())
    }

    fn message_id(&mut self) -> String {
        self.messages += 1;
        format!("s{}-{}-{}", self.start, self.name, self.messages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_visits_and_visits_reach_the_purchase() {
        let walk = |seed| {
            let mut random = Random::new(seed, 0);
            let mut names = Vec::new();
            for _ in 0..200 {
                let mut visit = Visit::default();
                loop {
                    let step = visit.next(&mut random);
                    visit.steps += 1;
                    names.push(match step {
                        Step::View(product) => {
                            visit.viewed = Some(product);
                            'v'
                        }
                        Step::Search(_) => 's',
                        Step::Add(product) => {
                            visit.cart.push(product);
                            'a'
                        }
                        Step::Checkout => {
                            visit.paying = true;
                            'c'
                        }
                        Step::Purchase => {
                            visit = Visit { steps: visit.steps, ..Visit::default() };
                            'p'
                        }
                        Step::Leave => break,
                    });
                }
            }
            names
        };
        assert_eq!(walk(1), walk(1));
        assert_ne!(walk(1), walk(2));
        for kind in ['v', 's', 'a', 'c', 'p'] {
            assert!(walk(1).iter().filter(|name| **name == kind).count() > 20, "{kind}");
        }
    }

    #[test]
    fn totals_are_whole_cents() {
        let visit = Visit { cart: vec![("a", "A", 14.9, "x"), ("b", "B", 34.9, "x"), ("c", "C", 29.9, "x")], ..Visit::default() };
        assert_eq!(visit.total().to_string(), "79.7");
    }
}
