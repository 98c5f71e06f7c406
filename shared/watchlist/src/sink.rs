//! Who is told what changes in a list.

use policy::Time;
use wire::lists::Change;

/// Takes the changes of a list, in order.
pub trait Sink {
    /// The list comes from its beginning. What is here serves until [`Sink::commit`]; changes from now on make the
    /// list that replaces it. A second `begin` starts that one anew.
    fn begin(&mut self) {}

    /// One change. Of a snapshot after [`Sink::begin`], else of the list that is here.
    fn apply(&mut self, change: &Change, now: Time);

    /// The last page of the snapshot is here: it replaces what was.
    fn commit(&mut self) {}
}
