//! Conditions on members in filters over the whole heap: which types they are about, and what those say of their objects.

use crate::addr::Addr;
use crate::heap::{AllocId, HeapError};
use crate::insight::filter::{Filter, MemberTest, Members, Test};
use crate::insight::{ConditionError, Names, ObjectConditions};
use crate::objects::{IdentityId, Objects};
use crate::session::Session;
use crate::task::Diagnostic;

use super::SafeText;
use super::fields::FieldsError;
use super::fields::pick::Picked;

/// Types whose members are looked up for one filter.
const MOST_TYPES: usize = 64;

/// Why a filter with conditions on members cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum MemberFilterError {
    /// The heap cannot be walked.
    #[error(transparent)]
    Heap(#[from] HeapError),
    /// No type is named, so that nothing says which objects have the member.
    #[error(
        "a condition on the member `{path}` needs the type whose member it is, as in 'type == Client and {path} == 1'"
    )]
    NoType {
        /// The member.
        path: String,
    },
    /// The type is named too loosely.
    #[error("{count} types fit the filter: members are looked up in at most {MOST_TYPES}")]
    TooManyTypes {
        /// How many.
        count: usize,
    },
    /// No object is of a type that is named.
    #[error(
        "no object in the heap is of a type that the filter names, so that none has the member `{path}`; `topleaked types --all` \
         shows the types that are"
    )]
    NoObjects {
        /// The member.
        path: String,
    },
    /// No type that fits has such a member, or it cannot have such a value.
    #[error("{}", SafeText::from(.0.to_string().as_str()))]
    Condition(ConditionError),
    /// The objects of a type cannot be had.
    #[error(transparent)]
    Fields(#[from] FieldsError),
}

/// The types that the conditions of a filter are about, with their objects and layouts.
#[derive(Default)]
pub struct FilterTypes {
    types: Vec<Picked>,
    diagnostics: Vec<Diagnostic>,
}

impl FilterTypes {
    /// Finds them. A filter without conditions on members is about none, and reads nothing.
    ///
    /// # Errors
    /// Where the filter names no type, or too many.
    pub fn find(session: &Session<'_>, filter: &Filter) -> Result<FilterTypes, MemberFilterError> {
        let mut found = FilterTypes::default();
        let Some(test) = filter.member_tests().first().copied() else { return Ok(found) };
        let path = SafeText::from(test.path.as_str()).to_string();
        if !names_type(filter) {
            return Err(MemberFilterError::NoType { path });
        }
        let (heap, objects) = (session.heap()?, session.objects()?);
        let mut is_used = vec![false; objects.identities().len()];
        for IdentityId(identity) in heap.table.ids().filter_map(|id| objects.of(id)) {
            if let Some(is_used) = is_used.get_mut(identity as usize) {
                *is_used = true;
            }
        }
        let used = objects.identities().iter().zip(is_used).filter(|(_, is_used)| *is_used);
        let mut names: Vec<&str> =
            (used.map(|(identity, _)| identity.name.as_str())).filter(|name| means_type(filter, name)).collect();
        names.sort_unstable();
        names.dedup();
        if names.len() > MOST_TYPES {
            return Err(MemberFilterError::TooManyTypes { count: names.len() });
        }
        for name in names {
            match Picked::find(session, name, None, &mut found.diagnostics) {
                Ok(picked) => found.types.push(picked),
                Err(FieldsError::NoObjects { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if found.types.is_empty() {
            return Err(MemberFilterError::NoObjects { path });
        }
        Ok(found)
    }

    /// What weakens the answer: layouts that may not be those of the objects.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// The conditions, made ready for each type.
    ///
    /// # Errors
    /// Where of no type a condition can be asked.
    pub fn conditions<'a>(
        &'a self,
        session: &'a Session<'_>,
        filter: &Filter,
    ) -> Result<FilterConditions<'a>, MemberFilterError> {
        let objects = session.objects()?;
        let mut by_type: Vec<Vec<ObjectConditions<'a>>> = self.types.iter().map(|_| Vec::new()).collect();
        for test in filter.member_tests() {
            let mut error = None;
            let mut is_known = false;
            for (picked, conditions) in self.types.iter().zip(&mut by_type) {
                let question = picked.question(session, &picked.objects, &[], NO_NAMES)?;
                match ObjectConditions::new(&[test], &question) {
                    Ok(ready) => {
                        is_known = true;
                        conditions.push(ready);
                    }
                    Err(found) => error = error.or(Some(found)),
                }
            }
            if let (Some(error), false) = (error, is_known) {
                return Err(MemberFilterError::Condition(error));
            }
        }
        let place_of = |name: &str| self.types.iter().position(|picked| picked.name == name);
        let places = objects.identities().iter().map(|identity| place_of(&identity.name)).collect();
        Ok(FilterConditions { objects, places, by_type })
    }
}

const NO_NAMES: Names<'static> = Names { place: &no_name };

fn no_name(_: Addr) -> Option<String> {
    None
}

/// Whether some condition of a filter says of which type objects are.
fn names_type(filter: &Filter) -> bool {
    match filter {
        Filter::And(parts) | Filter::Or(parts) => parts.iter().any(names_type),
        Filter::Not(part) => names_type(part),
        Filter::Test(Test::Type(pattern)) => !pattern.negated,
        Filter::Test(_) => false,
    }
}

/// Whether some condition of a filter means objects of this type.
fn means_type(filter: &Filter, name: &str) -> bool {
    match filter {
        Filter::And(parts) | Filter::Or(parts) => parts.iter().any(|part| means_type(part, name)),
        Filter::Not(part) => means_type(part, name),
        Filter::Test(Test::Type(pattern)) => !pattern.negated && pattern.holds(name),
        Filter::Test(_) => false,
    }
}

/// What the objects of a filter's types say of their members.
#[derive(Debug)]
pub struct FilterConditions<'a> {
    objects: &'a Objects,
    /// By identity the type's place in `by_type`.
    places: Vec<Option<usize>>,
    by_type: Vec<Vec<ObjectConditions<'a>>>,
}

impl Members for FilterConditions<'_> {
    fn holds(&self, id: AllocId, test: &MemberTest) -> Option<bool> {
        let IdentityId(identity) = self.objects.of(id)?;
        let place = (*self.places.get(identity as usize)?)?;
        self.by_type.get(place)?.iter().find_map(|conditions| conditions.holds(id, test))
    }
}
