//! Numbers of false alarms and of planted signals found, with fixed seeds.

use testkit::random::Random;

use super::*;

/// One member's values in all objects, in the order of the objects.
struct Column {
    cells: Vec<Cell>,
    ordered: bool,
}

impl Column {
    fn codes(&self, suspect: &[bool]) -> (Binning, Vec<u16>) {
        let binning = Binning::of_sample(&self.cells, suspect, self.ordered, MOST_VALUES);
        let codes = self.cells.iter().map(|cell| binning.code(*cell)).collect();
        (binning, codes)
    }

    fn assess(&self, suspect: &[bool]) -> Assessment {
        let (binning, codes) = self.codes(suspect);
        let (folds, choices) = (binning.folds().to_vec(), binning.choices());
        let mut table = Table {
            categories: binning.categories().to_vec(),
            ordered: self.ordered,
            folds,
            choices,
            tried: 1,
            strata: Vec::new(),
        };
        let size = suspect.len().div_ceil(STRATA).max(1);
        for (codes, groups) in codes.chunks(size).zip(suspect.chunks(size)) {
            let mut stratum = vec![[0, 0]; table.categories.len()];
            for (code, suspect) in codes.iter().zip(groups) {
                if let Some(count) = stratum.get_mut(usize::from(*code)) {
                    count[usize::from(!suspect)] += 1;
                }
            }
            table.strata.push(stratum);
        }
        let mut assessment = table.assess();
        let values: Vec<Option<u64>> = (self.cells.iter())
            .map(|cell| match cell {
                Cell::Value(code) => Some(*code),
                _ => None,
            })
            .collect();
        let order: Vec<Option<u64>> = (0..suspect.len() as u64).map(Some).collect();
        assessment.age_like = self.ordered
            && binning.distinct() >= FEWEST_AGES
            && correlation(&values, &order, std::slice::from_ref(&(0..suspect.len())))
                .is_some_and(|rho| rho.abs() > AGE);
        assessment
    }
}

/// Twelve members of many kinds that have nothing to do with the group.
fn noise(random: &mut Random, objects: usize) -> Vec<Column> {
    let mut column = |ordered, draw: &mut dyn FnMut(&mut Random, usize) -> u64| Column {
        cells: (0..objects).map(|at| Cell::Value(draw(random, at))).collect(),
        ordered,
    };
    vec![
        column(false, &mut |random, _| random.below(2)),
        column(false, &mut |random, _| u64::from(random.chance(3))),
        column(false, &mut |random, _| random.below(6)),
        column(false, &mut |random, _| random.below(6) * random.below(6) / 5),
        column(true, &mut |random, _| random.below(20)),
        column(true, &mut |random, _| random.below(1000)),
        column(true, &mut |random, _| random.below(1 << 30)),
        column(true, &mut |random, _| random.below(1 << 10) * random.below(1 << 10)),
        column(false, &mut |random, _| random.below(200)),
        column(false, &mut |random, _| random.below(1 << 30)),
        column(true, &mut |_, at| at as u64 * 3),
        column(false, &mut |_, _| 7),
    ]
}

fn ranked(columns: &[Column], suspect: &[bool]) -> (Vec<Assessment>, Vec<usize>) {
    let mut assessments: Vec<Assessment> = columns.iter().map(|column| column.assess(suspect)).collect();
    let order = rank(&mut assessments);
    (assessments, order)
}

#[test]
fn nothing_tells_where_there_is_no_signal() {
    let mut alarms = 0;
    for seed in 1..=200 {
        let mut random = Random::new(seed);
        let objects = 200 + random.below(3000) as usize;
        let percent = 3 + random.below(60);
        let suspect: Vec<bool> = (0..objects).map(|_| random.chance(percent)).collect();
        let (assessments, _) = ranked(&noise(&mut random, objects), &suspect);
        alarms += u32::from(assessments.iter().any(|assessment| assessment.significant));
    }
    assert!(alarms <= 10, "{alarms} of 200");
}

#[test]
fn a_planted_signal_is_ranked_first() {
    let mut first = 0;
    for seed in 1001..=1200 {
        let mut random = Random::new(seed);
        let objects = 500 + random.below(3000) as usize;
        let percent = 10 + random.below(50);
        let suspect: Vec<bool> = (0..objects).map(|_| random.chance(percent)).collect();
        let mut columns = noise(&mut random, objects);
        // 60 % of the suspects are in one of six states, of the others 25 %.
        let state = suspect.iter().map(|suspect| {
            let there = random.chance(if *suspect { 60 } else { 25 });
            Cell::Value(if there { 1 } else { random.below(5) + 2 })
        });
        let planted = Column { cells: state.collect(), ordered: false };
        columns.insert(5, planted);
        let (assessments, order) = ranked(&columns, &suspect);
        let telling = assessments[5].telling().map(|count| count.category);
        first += u32::from(order[0] == 5 && assessments[5].significant && telling == Some(Category::Value(1)));
    }
    assert!(first >= 190, "{first} of 200");
}

#[test]
fn few_suspects_among_many_are_told_by_a_rare_value() {
    let suspect: Vec<bool> = (0..20_000).map(|at| at % 1000 == 500).collect();
    let cells = (0..20_000).map(|at| Cell::Value(if at % 1000 == 500 || at % 5000 == 7 { 9 } else { at % 4 }));
    let mut all = vec![Column { cells: cells.collect(), ordered: false }.assess(&suspect)];
    rank(&mut all);
    assert!(all[0].significant && all[0].score > 0.5, "{all:?}");
    assert_eq!(all[0].telling().map(|count| (count.category, count.suspects)), Some((Category::Value(9), 20)));
}

/// Twenty thousand objects, of which a hundred are suspects; of a member with many values the suspects share one that few others have.
#[test]
fn few_suspects_that_share_one_of_many_values_are_told_by_it() {
    let mut random = Random::new(21);
    let suspect: Vec<bool> = (0..20_000).map(|at| at % 200 == 77).collect();
    for (ordered, many) in [(false, 64), (false, 3000), (true, 3000)] {
        let value = |suspect: &bool| Cell::Value(if *suspect { 7 } else { random.below(many) });
        let shared = Column { cells: suspect.iter().map(value).collect(), ordered };
        let mut columns = noise(&mut Random::new(22), suspect.len());
        columns.push(shared);
        let (assessments, order) = ranked(&columns, &suspect);
        let found = &assessments[order[0]];
        assert!(order[0] == columns.len() - 1 && found.tells(), "{many}: {found:?}");
        let claim = found.claim.clone().unwrap();
        assert_eq!((claim.kind, claim.categories, claim.suspects), (ClaimKind::Is, vec![Category::Value(7)], 100));
    }
}

#[test]
fn what_suspects_lack_is_said() {
    let suspect: Vec<bool> = (0..4000).map(|at| at % 3 == 0).collect();
    let value = |(at, suspect): (usize, &bool)| Cell::Value(if *suspect { 1 + at as u64 % 5 } else { 0 });
    let lacks = Column { cells: suspect.iter().enumerate().map(value).collect(), ordered: false };
    let claim = lacks.assess(&suspect).claim.unwrap();
    assert_eq!((claim.kind, claim.categories), (ClaimKind::IsNot, vec![Category::Value(0)]));
    assert_eq!((claim.suspects, claim.reference), (1334, 0));
}

#[test]
fn a_threshold_is_one_claim() {
    let mut random = Random::new(23);
    let suspect: Vec<bool> = (0..6000).map(|_| random.chance(30)).collect();
    let value = |suspect: &bool| random.below(if *suspect { 200 } else { 800 }) + if *suspect { 800 } else { 0 };
    let above = Column { cells: suspect.iter().map(value).map(Cell::Value).collect(), ordered: true };
    let claim = above.assess(&suspect).claim.unwrap();
    assert!(claim.kind == ClaimKind::AtLeast && claim.reference < 300, "{claim:?}");
    assert!(claim.suspects as f64 > 0.95 * suspect.iter().filter(|suspect| **suspect).count() as f64, "{claim:?}");
}

#[test]
fn where_no_ages_are_common_to_both_groups_nothing_is_denied() {
    // All suspects come before all others, and have a state that no other has.
    let suspect: Vec<bool> = (0..3000).map(|at| at < 1000).collect();
    let state = Column { cells: (0..3000).map(|at| Cell::Value(u64::from(at < 1000))).collect(), ordered: false };
    let (assessments, _) = ranked(&[state], &suspect);
    assert!(assessments[0].significant && assessments[0].may_be_age && !assessments[0].across_age_only);
}

#[test]
fn what_grows_with_the_order_is_an_age() {
    let mut random = Random::new(5);
    let suspect: Vec<bool> = (0..4000).map(|at| random.chance(if at < 2000 { 80 } else { 10 })).collect();
    let serial = Column { cells: (0..4000).map(|at| Cell::Value(at * 7 + random.below(5))).collect(), ordered: true };
    let (assessments, _) = ranked(&[serial], &suspect);
    assert!(assessments[0].significant && assessments[0].age_like);
}

#[test]
fn what_tells_only_through_age_is_demoted() {
    let mut random = Random::new(6);
    let suspect: Vec<bool> = (0..8000).map(|at| random.chance(if at < 4000 { 90 } else { 5 })).collect();
    let version = Column { cells: (0..8000).map(|at| Cell::Value(u64::from(at < 4000))).collect(), ordered: false };
    let state = suspect.iter().map(|suspect| Cell::Value(u64::from(random.chance(if *suspect { 60 } else { 30 }))));
    let state = Column { cells: state.collect(), ordered: false };
    let (assessments, order) = ranked(&[version, state], &suspect);
    // Among objects of one age the version is the same: nothing can be said.
    assert!(assessments[0].significant && assessments[0].may_be_age && assessments[0].score > assessments[1].score);
    assert!(assessments[1].tells());
    assert_eq!(order, [1, 0]);
}

#[test]
fn missing_memory_is_no_evidence() {
    let suspect: Vec<bool> = (0..1000).map(|at| at % 2 == 0).collect();
    let cells = (0..1000u64).map(|at| if at % 2 == 0 { Cell::Missing } else { Cell::Value(at % 3) }).collect();
    let (assessments, _) = ranked(&[Column { cells, ordered: false }], &suspect);
    assert!(!assessments[0].significant);
    assert_eq!((assessments[0].suspects, assessments[0].reference), (0, 500));
}

#[test]
fn special_numbers_stay_out_of_ranges() {
    let cells: Vec<Cell> = (0..1200).map(|at| if at % 3 == 0 { Cell::Apart(0) } else { Cell::Value(at + 5) }).collect();
    let assessment = Column { cells, ordered: true }.assess(&[true; 1200]);
    assert_eq!(assessment.most_frequent(), Some((Category::Value(0), 400)));
    let ranges: Vec<_> =
        assessment.counts.iter().filter(|count| matches!(count.category, Category::Range(..))).collect();
    assert_eq!(ranges.len(), 12);
    assert!(ranges.iter().all(|count| (60..=72).contains(&count.suspects)), "{ranges:?}");
}

#[test]
fn one_group_is_ranked_by_what_is_unusual() {
    let cells = (0..1000).map(|at| Cell::Value(u64::from(at % 10 == 0)));
    let assessment = Column { cells: cells.collect(), ordered: false }.assess(&[true; 1000]);
    assert!((assessment.concentration(0.5) - 0.8).abs() < 1e-9);
    assert_eq!(assessment.concentration(0.95), 0.0);
    assert_eq!((assessment.score, assessment.p, assessment.drift), (0.0, 1.0, 0.0));
}

#[test]
fn no_objects_are_no_answer() {
    let assessment = Column { cells: Vec::new(), ordered: true }.assess(&[]);
    assert_eq!((assessment.p, assessment.telling()), (1.0, None));
    assert!(rank(&mut []).is_empty());
}

#[test]
fn what_grows_slowly_with_age_is_demoted_among_millions() {
    // The chance to be a suspect falls over the whole order, and so does that of the version: nothing else links them.
    let mut random = Random::new(8);
    let falls = |random: &mut Random, at: u64| random.below(400_000) > at;
    let suspect: Vec<bool> = (0..400_000).map(|at| falls(&mut random, at)).collect();
    let version = (0..400_000).map(|at| Cell::Value(u64::from(falls(&mut random, at)))).collect();
    let state = suspect.iter().map(|suspect| Cell::Value(u64::from(random.chance(if *suspect { 45 } else { 20 }))));
    let state = Column { cells: state.collect(), ordered: false };
    let (assessments, order) = ranked(&[Column { cells: version, ordered: false }, state], &suspect);
    assert!(assessments[0].significant && assessments[0].across_age_only, "{:?}", assessments[0]);
    assert!(assessments[1].significant && !assessments[1].across_age_only, "{:?}", assessments[1]);
    assert_eq!(order, [1, 0]);
}

fn conditions(columns: &[Vec<u64>]) -> Vec<Condition> {
    let mut conditions = Vec::new();
    for (member, column) in columns.iter().enumerate() {
        let mut values = column.clone();
        values.sort_unstable();
        values.dedup();
        for value in values {
            let objects = Objects::of(column.len(), |at| column[at] == value);
            conditions.push(Condition { member, side: 0, objects });
        }
    }
    conditions
}

#[test]
fn two_members_that_tell_nothing_alone_make_a_rule() {
    let mut random = Random::new(11);
    let columns: Vec<Vec<u64>> = [2, 3, 2, 4].map(|limit| (0..4000).map(|_| random.below(limit)).collect()).to_vec();
    let suspect: Vec<bool> = (0..4000).map(|at| (columns[0][at] ^ columns[2][at]) == 1).collect();
    let conditions = conditions(&columns);
    let rules = find_rules(&conditions, &suspect, 1);
    assert_eq!(rules.len(), 2, "{rules:?}");
    for rule in rules {
        let members: Vec<usize> = rule.iter().map(|at| conditions[*at].member).collect();
        assert_eq!(members, [0, 2]);
    }
}

#[test]
fn a_rule_is_no_longer_than_it_has_to_be() {
    let mut random = Random::new(12);
    let columns: Vec<Vec<u64>> = [2, 3, 5].map(|limit| (0..4000).map(|_| random.below(limit)).collect()).to_vec();
    let suspect: Vec<bool> = (0..4000).map(|at| columns[2][at] == 3 && random.chance(98)).collect();
    let conditions = conditions(&columns);
    let rules = find_rules(&conditions, &suspect, 1);
    assert_eq!(rules.first().map(Vec::len), Some(1), "{rules:?}");
    assert_eq!(conditions[rules[0][0]].member, 2);
}

#[test]
fn no_rule_is_found_where_there_is_no_signal() {
    let mut alarms = 0;
    for seed in 1..=200 {
        let mut random = Random::new(seed);
        let objects = 200 + random.below(1500) as usize;
        let percent = 10 + random.below(50);
        let suspect: Vec<bool> = (0..objects).map(|_| random.chance(percent)).collect();
        let columns: Vec<Vec<u64>> =
            [2, 3, 5, 2, 8, 4].map(|limit| (0..objects).map(|_| random.below(limit)).collect()).to_vec();
        alarms += u32::from(!find_rules(&conditions(&columns), &suspect, 1).is_empty());
    }
    assert!(alarms <= 10, "{alarms} of 200");
}
