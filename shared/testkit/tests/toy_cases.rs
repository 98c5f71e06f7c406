//! The case format, tried on a policy that does what the path says.

mod toy;

fn main() -> std::process::ExitCode {
    testkit::cases_main::<toy::Toy>(include_str!("toy.toml"))
}
