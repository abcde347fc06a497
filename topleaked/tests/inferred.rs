//! Layouts from objects alone, held to programs that say where their members are.

use testkit::native::{Build, M32, compile, crash};
use topleaked::heap::walk_heaps;
use topleaked::image::{Image, OpenOptions};
use topleaked::report::{Layouts, Look, Report};
use topleaked::session::Session;
use topleaked::task::Task;

const C: &str = include_str!("programs/inferred.c");

#[test]
fn members_of_stripped_programs_have_their_places_and_widths() {
    for options in [&["-O1", "-s"] as &[&str], &["-O2", "-s"], &[&["-O1", "-s"], M32].concat()] {
        let crash = crash(&compile("inferred", "c", C, &Build { compiler: "cc", options }), &[]);
        let (opened, task) = (OpenOptions::default(), Task::default());
        let image = Image::open(&crash.core, &opened, &task).unwrap();
        let session = Session::new(&image, &opened, &task);
        let size: u64 = crash.stdout.lines().last().unwrap().strip_prefix("size ").unwrap().parse().unwrap();
        // What malloc makes of it is one size for all.
        let table = walk_heaps(&image, &task).unwrap().table;
        let usable = (table.ids().map(|id| table.usable_size(id)))
            .filter(|usable| (size..size + 16).contains(usable))
            .max_by_key(|usable| table.ids().filter(|id| table.usable_size(*id) == *usable).count())
            .unwrap();
        let layouts = Layouts::inferred(&session, &usable.to_string()).unwrap().expect("objects of that size");
        let said: Vec<(u64, u64)> = (crash.stdout.lines())
            .filter_map(|line| {
                let (offset, rest) = line.split_once(' ')?;
                Some((offset.parse().ok()?, rest.split_once(' ')?.0.parse().ok()?))
            })
            .collect();
        let report = Report::new("layout", "core", layouts.clone());
        let mut text = Vec::new();
        report.write_human(&mut text, &Look::PLAIN).unwrap();
        let text = String::from_utf8(text).unwrap();
        let found: Vec<(u64, u64)> = (layouts.types[0].members.iter())
            .map(|member| (member.offset.unwrap(), member.size.unwrap()))
            .take_while(|(offset, _)| *offset < size)
            .collect();
        assert_eq!(found, said, "{options:?}: {text}");
        for (line, says) in [
            ("pointer", "to an allocation of"),
            ("pointer", "to a function"),
            ("pointer", "to text"),
            ("u32", "counter"),
            ("u32", "state (5 values)"),
            ("u8", "flag"),
            ("u8", "state (9 values)"),
            ("u32", "time in seconds"),
            ("char[24]", "text"),
            ("f32", "number"),
            ("u32", "flag"),
            ("u32", "always 0xfeedbeef"),
            ("u32", "number (all different)"),
        ] {
            let has = text.lines().any(|row| row.contains(line) && row.contains(says));
            assert!(has, "{options:?}: no {line} that says {says}:\n{text}");
        }
        assert!(text.contains("size of what +"), "{text}");
    }
}
