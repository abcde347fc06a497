//! Identities and debug information together: types spread from what is known, and what comes of it joins the rest.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::addr::Target;
use crate::heap::AllocationTable;
use crate::image::Image;
use crate::task::{Diagnostic, Task};
use crate::types::{TypeId, TypeName, Types};

use super::Objects;
use super::identity::{Code, Confidence, Evidence, Identity};
use super::spread::{SpreadGround, spread};

impl Objects {
    /// Spreads the types that debug information knows along pointers: from variables and from objects that
    /// are identified, to what their members point to. A stronger identity stays. Nothing happens without debug information.
    ///
    /// Costs O(bytes of debug information) for the variables, O(bytes of what gets a type), and four bytes an allocation
    /// while it runs.
    pub fn spread(&mut self, image: &Image, table: &AllocationTable, types: &mut Types, task: &Task) {
        if types.debug_info().is_empty() {
            return;
        }
        let variables = types.variables(task);
        let mut seeds = self.seeds(types, image.target(), task);
        seeds.push(None);
        let guarded = seeds.len() as u32;
        if variables.is_empty() && seeds.iter().all(Option::is_none) {
            return;
        }
        let column: Vec<AtomicU32> = table.ids().map(|id| AtomicU32::new(self.seed_number(id.0, guarded))).collect();
        let ground = SpreadGround { space: image.space(), table, variables: &variables, seeds: &seeds, guarded };
        let answer = spread(&ground, types, &column, task);
        if answer.truncated {
            self.diagnostics.push(Diagnostic {
                code: "types-not-spread",
                at: "heap".to_owned(),
                effect: "some allocations have no type though a pointer to them has one".to_owned(),
            });
        }
        let first = seeds.len() as u32 + 1;
        let spread: Vec<Identity> = (answer.types)
            .into_iter()
            .map(|ty| Identity::new(ty.name, Evidence::TypedPointer, ty.confidence))
            .collect();
        self.join(&spread, first, &column);
    }

    /// By identity, its type in the debug information, where pointers in it may be trusted.
    fn seeds(&self, types: &mut Types, target: Target, task: &Task) -> Vec<Option<TypeId>> {
        let mut seeds = vec![None; self.identities.len()];
        let (places, names): (Vec<usize>, Vec<TypeName>) = (self.identities.iter().enumerate())
            .filter(|(_, identity)| is_settled(identity))
            .filter_map(|(at, identity)| Some((at, TypeName::parse(&identity.name)?)))
            .unzip();
        if names.is_empty() {
            return seeds;
        }
        let found = types.debug_info().find_types(&names, task);
        for (at, found) in places.into_iter().zip(found) {
            // Of several names that end alike, and of several layouts of one, nothing says which it is.
            let [only] = found.names.as_slice() else { continue };
            let [layout] = only.layouts.as_slice() else { continue };
            let layout = layout.clone();
            let ty = types.add(&layout);
            let sized = types.size_bytes(ty).is_some_and(|size| size >= target.width.bytes() as u64);
            if let Some(seed) = seeds.get_mut(at).filter(|_| sized) {
                *seed = Some(ty);
            }
        }
        seeds
    }

    /// The number of an allocation's identity as a seed; 0 where spreading may find a better one, `guarded` where it has to
    /// be sure of that.
    fn seed_number(&self, at: u32, guarded: u32) -> u32 {
        let Some(id) = self.of(crate::heap::AllocId(at)) else { return 0 };
        match self.identities.get(id.0 as usize) {
            Some(identity) if is_settled(identity) => id.0 + 1,
            Some(identity) if identity.confidence > Confidence::Possible => guarded,
            _ => 0,
        }
    }

    /// Takes over what spread, where it outweighs what was known.
    fn join(&mut self, spread: &[Identity], first: u32, column: &[AtomicU32]) {
        let before = self.identities.len();
        let mut all: Vec<(Identity, usize)> =
            self.identities.drain(..).chain(spread.iter().cloned()).zip(0..).collect();
        all.sort_unstable();
        let mut now = vec![0_u32; all.len()];
        for (place, (_, was)) in (0_u32..).zip(&all) {
            if let Some(now) = now.get_mut(*was) {
                *now = place;
            }
        }
        for place in &mut self.places {
            *place = now.get(*place as usize).copied().unwrap_or(0);
        }
        let first_place = self.places.len();
        self.places.extend(now.iter().skip(before));
        self.identities = all.into_iter().map(|(identity, _)| identity).collect();
        let codes: Vec<Code> = (spread.iter().zip(first_place..))
            .map(|(identity, place)| Code::new(identity.rank(), place).unwrap_or(Code::NONE))
            .collect();
        for (code, number) in self.codes.iter().zip(column) {
            let found = number.load(Ordering::Relaxed).checked_sub(first).and_then(|at| codes.get(at as usize));
            if let Some(found) = found
                && found.rank() > Code(code.load(Ordering::Relaxed)).rank()
            {
                code.store(found.0, Ordering::Relaxed);
            }
        }
    }
}

/// Whether an identity stands whatever a pointer's type says: what it is founded on lies in the object or beside
/// the pointer to it.
fn is_settled(identity: &Identity) -> bool {
    identity.evidence > Evidence::TypedPointer && identity.confidence > Confidence::Possible
}
