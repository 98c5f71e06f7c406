//! From a built module to one that an environment trusts.
//!
//! ```text
//! keys        Ed25519 keys in PEM; secret ones are never shown
//! statement   what a signature says beside the code: which release, which approval, until when
//! lengths     that no length in a module points past its end
//! module      a module with its chain of statements and signatures
//! term        from when and until when a signature is to hold
//! trust       which signatures an environment needs, and whether a module has them
//! provenance  how a release was built: an in-toto statement, signed
//! layout      modules as OCI images
//! ```

pub mod files;
pub mod keys;
pub mod layout;
mod lengths;
pub mod module;
pub mod provenance;
pub mod statement;
pub mod term;
pub mod trust;
