//! draft
mod cluster;
mod fingerprint;
mod moves;
mod names;
mod reached;
mod search;
mod twins;
mod visited;

use leadelect::election::Timing;
use moves::{Left, World};
use search::Bounds;
use std::time::Duration;

fn world() -> World {
    let millis = Duration::from_millis;
    World {
        timing: Timing::new(millis(11), millis(44), 100_000).unwrap(),
        unit: millis(10),
        longest_stall: 6,
        terms: 3,
        fault: None,
    }
}

#[test]
#[allow(clippy::disallowed_methods)]
fn model() {
    let number = |name: &str, or: u8| {
        let value = std::env::var(name).ok();
        value.map_or(or, |value| value.parse().expect("a number"))
    };
    let bounds = Bounds {
        world: World {
            unit: Duration::from_millis(number("UNIT", 10).into()),
            longest_stall: number("STALL", 6),
            ..world()
        },
        left: Left {
            crashes: number("CRASHES", 0),
            orders: number("ORDERS", 0),
            others: number("OTHERS", 0),
            together: number("TOGETHER", 9),
        },
        clocks: (0..8)
            .filter(|fast| number("CLOCKS", 255) & (1 << fast) != 0)
            .collect(),
    };
    let began = std::time::Instant::now();
    let report = bounds.search(2);
    println!(
        "{} situations, {} visits, {} steps, {} beyond, depth {}, {:.1?}, {} MB",
        report.situations,
        report.visits,
        report.steps,
        report.beyond,
        report.depth,
        began.elapsed(),
        report.bytes / 1_000_000
    );
    println!("{}", report.reached);
    if let Some((wrong, course)) = report.wrong {
        let (story, again) = bounds.replay(&course);
        println!("{story}\n{again:?}");
        panic!("{wrong} {course}");
    }
    if let Ok(course) = std::env::var("COURSE") {
        println!("{}", bounds.replay(&course.parse().unwrap()).0);
    }
}
