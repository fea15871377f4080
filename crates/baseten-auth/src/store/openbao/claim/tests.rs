use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const START: i64 = 1_800_000_000;
/// How far the clocks of two clients can differ, in seconds.
const SKEW: i64 = 15;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(START + second).unwrap()
}

fn found(version: u64, credential: &str, nonce: &str, claim: Option<(&str, i64)>) -> Heard {
    let claim = claim.map(|(by, until)| Claim { by: by.to_owned(), until: at(until) });
    let secret = Shared { credential: credential.into(), nonce: nonce.to_owned(), claim };
    Heard::Found(Found { version, secret: Some(secret) })
}

fn gone(version: u64) -> Heard {
    Heard::Found(Found { version, secret: None })
}

fn claims(on: u64, second: i64) -> Action {
    Action::Write { on, credential: Some("old".into()), until: Some(at(second + 75)) }
}

fn held(version: u64, second: i64) -> Action {
    Action::Held { version, credential: "old".into(), until: at(second + 75) }
}

/// Steps of a change: the second, what the engine says, and the expected action.
fn walk(goal: Goal<'_>, steps: impl IntoIterator<Item = (i64, Heard, Action)>) {
    let mut change = Change::new(goal, "mine");
    for (index, (second, heard, expected)) in steps.into_iter().enumerate() {
        let steady = Duration::from_secs(second.unsigned_abs());
        assert_eq!(change.step(heard, at(second), steady), expected, "step {index}");
    }
}

#[test]
fn a_claim_is_written_once_and_looked_up_if_its_answer_is_unclear() {
    let needs = |credential: &Secret| credential.expose() == "old";
    let goal = Goal::Claim { needs: &needs };
    let free = || found(3, "old", "x", None);
    walk(goal, [(0, free(), claims(3, 0)), (1, Heard::Written(4), held(4, 0))]);
    // The answer was lost, but the write was made.
    let mine = || found(4, "old", "mine", Some(("mine", 75)));
    walk(
        goal,
        [(0, free(), claims(3, 0)), (1, Heard::Unclear, Action::Look), (2, mine(), held(4, 0))],
    );
    // The write was not made: it is repeated on the same version, so that it cannot be made twice.
    walk(
        goal,
        [
            (0, free(), claims(3, 0)),
            (1, Heard::Unclear, Action::Look),
            (2, free(), claims(3, 2)),
            (3, Heard::Unclear, Action::Look),
            (4, found(2, "older", "w", None), Action::Look),
            (4, mine(), held(4, 0)),
        ],
    );
    // That took so long that too little is left of the claim for a refresh.
    walk(
        goal,
        [
            (0, free(), claims(3, 0)),
            (6, Heard::Written(4), claims(4, 6)),
            (7, Heard::Written(5), held(5, 6)),
        ],
    );
    walk(goal, [(0, free(), claims(3, 0)), (6, mine(), claims(4, 6))]);
}

#[test]
fn another_claim_is_waited_for_and_taken_over_when_it_has_run_out() {
    let needs = |credential: &Secret| credential.expose() == "old";
    let goal = Goal::Claim { needs: &needs };
    let theirs = |until| found(3, "old", "x", Some(("them", until)));
    walk(
        goal,
        [
            (0, theirs(40), Action::Wait),
            (39, theirs(40), Action::Wait),
            (40, theirs(40), claims(3, 40)),
            (41, Heard::Unclear, Action::Look),
            (42, found(4, "old", "y", Some(("third", 110))), Action::Wait),
            (50, found(5, "new", "z", None), Action::Fresh("new".into())),
        ],
    );
    // A clock that is years ahead.
    walk(
        goal,
        [
            (0, theirs(1 << 30), Action::Wait),
            (74, theirs(1 << 30), Action::Wait),
            (75, theirs(1 << 30), claims(3, 75)),
        ],
    );
    // A node that is behind may not have it yet.
    walk(
        goal,
        [(0, gone(7), Action::Look), (14, gone(7), Action::Look), (15, gone(7), Action::Lost)],
    );
    walk(goal, [(0, gone(0), Action::Look), (2, theirs(40), Action::Wait)]);
}

#[test]
fn refreshed_tokens_are_written_on_whatever_version_is_there() {
    let outdated = |there: &Secret| there.expose() == "old";
    let goal = Goal::ReplaceOnly { outdated: &outdated };
    walk(
        goal,
        [
            (0, found(9, "old", "x", Some(("them", 70))), write(9)),
            (1, Heard::Unclear, Action::Look),
            (2, found(10, "old", "y", Some(("third", 70))), write(10)),
            (3, Heard::Written(11), Action::Done),
        ],
    );
    walk(goal, [(0, found(9, "new", "x", Some(("them", 70))), Action::Done)]);
    walk(goal, [(0, found(9, "another login", "x", None), Action::Done)]);
    walk(goal, [(0, gone(9), Action::Look), (15, gone(0), Action::Lost)]);
    walk(Goal::Replace, [(0, gone(9), write(9)), (1, Heard::Written(10), Action::Done)]);
}

/// An engine whose answers get lost, come late, or are old.
#[derive(Default)]
struct Model {
    versions: Vec<Shared>,
    /// Writes that will be made later, if their version is still the newest then.
    late: Vec<(u64, Shared)>,
}

impl Model {
    fn newest(&self) -> u64 {
        self.versions.len() as u64
    }

    fn write(&mut self, on: u64, secret: Shared) -> Heard {
        if on != self.newest() {
            return Heard::Unclear;
        }
        self.versions.push(secret);
        Heard::Written(self.newest())
    }

    fn look(&self, behind: u64) -> Heard {
        let version = self.newest().saturating_sub(behind).max(1);
        let secret = self.versions[usize::try_from(version).unwrap() - 1].clone();
        Heard::Found(Found { version, secret: Some(secret) })
    }
}

/// What happens to one step of one client.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Good,
    /// The write is made, but its answer is lost.
    AnswerLost,
    /// The write is not made.
    RequestLost,
    /// The write is made later, or never.
    Late,
    /// A valid check-and-set is refused.
    Refused,
    /// The look shows an older version.
    Stale,
}

enum Stage {
    Claiming,
    /// It has presented this token, and the answer comes at this second.
    Refreshing {
        token: String,
        answer: i64,
    },
    Keeping {
        new: String,
        began: i64,
    },
    Gone,
}

struct Client {
    name: String,
    clock: i64,
    stage: Stage,
    /// How many changes it has begun.
    change: u64,
    seen: u64,
    next: Option<Action>,
    heard: Option<Heard>,
    doubted: Option<Duration>,
    change_seen: Option<(Secret, Timestamp)>,
    watched: Option<(Claim, Duration)>,
}

#[derive(Debug, Clone)]
struct Turn {
    client: usize,
    fate: Fate,
    seconds: i64,
    crashes: bool,
}

fn turn() -> impl Strategy<Value = Turn> {
    let fate = prop_oneof![
        4 => Just(Fate::Good), 1 => Just(Fate::AnswerLost), 1 => Just(Fate::RequestLost),
        1 => Just(Fate::Late), 1 => Just(Fate::Refused), 1 => Just(Fate::Stale),
    ];
    let seconds = prop_oneof![5 => 0..2_i64, 2 => 2..12_i64, 1 => 12..90_i64];
    (0..3_usize, fate, seconds, prop::bool::weighted(0.03))
        .prop_map(|(client, fate, seconds, crashes)| Turn { client, fate, seconds, crashes })
}

/// Three clients that refresh whenever they can, under any fate.
fn play(turns: &[Turn], skews: [i64; 3]) -> Result<usize, TestCaseError> {
    let mut model = Model::default();
    model.versions.push(Shared { credential: "0".into(), nonce: String::new(), claim: None });
    let mut clients: Vec<Client> = (0..3).map(|index| client(index, skews[index])).collect();
    // Who has presented a token, and when.
    let mut presented: BTreeMap<String, (String, i64)> = BTreeMap::new();
    let (mut now, mut wanted, mut refreshes) = (0_i64, 0_u64, 0);
    for (round, turn) in turns.iter().enumerate() {
        now += turn.seconds;
        if let Fate::Late = turn.fate
            && let Some((on, secret)) = model.late.pop()
        {
            let _ = model.write(on, secret);
        }
        let one = &mut clients[turn.client];
        if turn.crashes {
            // It comes back as another process.
            *one = client(turn.client, skews[turn.client]);
            one.name = format!("{}-{round}", one.name);
            continue;
        }
        let clock = at(now + one.clock);
        let steady = Duration::from_secs(now.unsigned_abs());
        match &one.stage {
            Stage::Claiming => {
                let name = one.name.clone();
                let needs = |text: &Secret| text.expose().parse::<u64>().unwrap() <= wanted;
                let goal = Goal::Claim { needs: &needs };
                match advance(one, goal, None, &mut model, turn.fate, clock, steady) {
                    Some(Action::Held { credential, .. }) => {
                        let token = credential.expose().to_owned();
                        if let Some((by, when)) = presented.get(&token) {
                            // The other client's claim is over, except for the difference of the
                            // clocks.
                            prop_assert!(
                                now - when >= 70 - SKEW,
                                "{name} presents {token} {} s after {by}",
                                now - when
                            );
                        }
                        presented.insert(token.clone(), (name, now));
                        refreshes += 1;
                        restart(one, Stage::Refreshing { token, answer: now + turn.seconds % 25 });
                    }
                    Some(Action::Fresh(_)) => {
                        // The tokens end, and somebody wants new ones.
                        wanted = wanted.max(
                            model.versions.last().unwrap().credential.expose().parse().unwrap(),
                        );
                        restart(one, Stage::Claiming);
                    }
                    Some(other) => prop_assert!(false, "{other:?}"),
                    None => {}
                }
            }
            Stage::Refreshing { token, answer } if now >= *answer => {
                let new = (token.parse::<u64>().unwrap() + 1).to_string();
                restart(one, Stage::Keeping { new, began: now });
            }
            Stage::Refreshing { .. } => {}
            Stage::Keeping { new, began } => {
                let new = new.clone();
                if now - began > 30 {
                    // It gives up, and is gone for the others.
                    restart(one, Stage::Gone);
                    continue;
                }
                let mine: u64 = new.parse().unwrap();
                let outdated = |text: &Secret| text.expose().parse::<u64>().unwrap() + 1 == mine;
                let goal = Goal::ReplaceOnly { outdated: &outdated };
                if advance(one, goal, Some(&new), &mut model, turn.fate, clock, steady).is_some() {
                    restart(one, Stage::Claiming);
                }
            }
            Stage::Gone => {
                one.name = format!("{}-{round}", one.name);
                restart(one, Stage::Claiming);
            }
        }
    }
    Ok(refreshes)
}

fn client(index: usize, clock: i64) -> Client {
    let stage = Stage::Claiming;
    let name = format!("client {index}");
    Client {
        name,
        clock,
        stage,
        change: 0,
        seen: 0,
        next: None,
        heard: None,
        doubted: None,
        change_seen: None,
        watched: None,
    }
}

fn restart(client: &mut Client, stage: Stage) {
    client.stage = stage;
    client.change += 1;
    (client.seen, client.next, client.heard) = (0, None, None);
    (client.doubted, client.change_seen, client.watched) = (None, None, None);
}

/// Takes one action of a change; `Some` at its end.
fn advance(
    client: &mut Client,
    goal: Goal<'_>,
    new: Option<&str>,
    model: &mut Model,
    fate: Fate,
    clock: Timestamp,
    steady: Duration,
) -> Option<Action> {
    let nonce = format!("{} {} {new:?}", client.name, client.change);
    let heard = match client.next.take() {
        Some(Action::Write { on, credential, until }) => {
            let claim = until.map(|until| Claim { by: nonce.clone(), until });
            let credential = credential.unwrap_or_else(|| new.unwrap().into());
            let secret = Shared { credential, nonce: nonce.clone(), claim };
            match fate {
                Fate::Good | Fate::Stale => model.write(on, secret),
                Fate::AnswerLost => {
                    let _ = model.write(on, secret);
                    Heard::Unclear
                }
                Fate::RequestLost | Fate::Refused => Heard::Unclear,
                Fate::Late => {
                    model.late.push((on, secret));
                    Heard::Unclear
                }
            }
        }
        _ => match fate {
            Fate::AnswerLost | Fate::RequestLost => Heard::Unclear,
            Fate::Stale => model.look(2),
            _ => model.look(0),
        },
    };
    let mut change = Change::new(goal, &nonce);
    change.seen = client.seen;
    change.doubted = client.doubted;
    change.written = client.change_seen.take();
    change.watched = client.watched.take();
    let action = change.step(heard, clock, steady);
    client.doubted = change.doubted;
    (client.seen, client.change_seen, client.watched) =
        (change.seen, change.written, change.watched);
    match action {
        Action::Held { .. } | Action::Fresh(_) | Action::Done | Action::Lost => Some(action),
        action => {
            client.next = Some(action);
            None
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]
    #[test]
    fn no_token_is_presented_twice_unless_its_owner_was_gone_for_longer_than_its_claim(
        turns in prop::collection::vec(turn(), 1..200),
        skew in 0..=SKEW,
    ) {
        play(&turns, [0, skew, skew / 2])?;
    }
}

#[test]
fn without_faults_every_end_of_the_tokens_is_one_refresh() {
    let turns = (0..600).map(|round| Turn {
        client: round % 3,
        fate: Fate::Good,
        seconds: 0,
        crashes: false,
    });
    let refreshes = play(&turns.collect::<Vec<_>>(), [0, 0, 0]).unwrap();
    assert!(refreshes > 20, "{refreshes}");
}
