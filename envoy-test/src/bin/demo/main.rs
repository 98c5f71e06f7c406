//! A real Envoy with the auth filter, between a client and an upstream: good and bad requests, what
//! was expected, what came, and what the filter costs. With `--stay` it is left up to be tried.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod cast;
mod script;
mod table;
mod timing;

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use envoy_test::EnvoyGateway;
use testkit::World;
use testkit::gateway::{FilterSetup, Gateway};
use tokio::signal::unix::{SignalKind, signal};

use crate::cast::Cast;
use crate::script::Scene;
use crate::table::Row;

fn main() -> ExitCode {
    let stay = std::env::args().any(|argument| argument == "--stay");
    match play(stay) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether everything was as expected.
fn play(stay: bool) -> Result<bool, String> {
    say("Starting Envoy with the auth filter, an upstream and an auth-service …\n");
    let world = World::new();
    let mut gateway = EnvoyGateway::new(1);
    gateway.open(&world)?;
    let cast = Cast::new(&world, gateway.now());
    let filter = FilterSetup {
        name: "auth".into(),
        config: cast::config(),
    };
    gateway
        .configure(&[filter])?
        .map_err(|refused| refused.lines.join("\n"))?;
    let address = gateway.address()?;
    let bare = gateway.bare_address()?;
    // The filter fetches keys in the background; nobody has to wait for them later.
    gateway.wait(Duration::from_millis(300));

    let scenes = script::scenes(&cast);
    let mut rows = Vec::new();
    for (index, scene) in scenes.iter().enumerate() {
        if std::io::stdout().is_terminal() {
            say(&format!("\r{:>3} of {} … ", index + 1, scenes.len()));
        }
        rows.push(row(&mut gateway, &world, scene, (address, bare))?);
    }
    say("\r");
    table::print(&rows);
    let good = rows.iter().filter(|row| row.is_as_expected()).count();
    println!(
        "\n{good} of {} as expected. Times are medians of {} requests: what the filter adds to one that\n\
         passes, measured against a listener without it, and how soon a refusal is there.",
        rows.len(),
        timing::REPEATS,
    );
    if stay {
        script::invite(&cast, address, bare, gateway.envoy()?.admin_address());
        wait_for_the_end()?;
    }
    gateway
        .stop(&[])
        .map_err(|fault| format!("Envoy is not well: {fault}"))?;
    Ok(good == rows.len())
}

fn row(
    gateway: &mut EnvoyGateway,
    world: &World,
    scene: &Scene,
    (address, bare): (std::net::SocketAddr, std::net::SocketAddr),
) -> Result<Row, String> {
    scene.before(world);
    gateway.world_changed()?;
    for _ in 0..scene.guesses() {
        gateway.send(vec![scene.request(0)])?;
    }
    let exchange = gateway.send(vec![scene.request(0)])?.remove(0);
    let medians = match scene.is_timed() {
        true => Some(timing::measure(address, bare, |n| scene.request(n))?),
        false => None,
    };
    scene.after(world);
    gateway.world_changed()?;
    Ok(Row::new(scene, &exchange, medians))
}

fn wait_for_the_end() -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| e.to_string())?;
    runtime
        .block_on(async {
            let mut interrupt = signal(SignalKind::interrupt())?;
            let mut terminate = signal(SignalKind::terminate())?;
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            std::io::Result::Ok(())
        })
        .map_err(|e| e.to_string())
}

fn say(text: &str) {
    print!("{text}");
    let _ = std::io::stdout().flush();
}
