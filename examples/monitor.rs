//! The monitor page on streams that are only played back: for looking at the
//! page, and for its tests in a browser. `cargo run --example monitor -- PORT
//! STREAM...` prints the address and runs until its standard input ends. With
//! HEATCAST_TOKEN set, a second address is printed, which asks for that token.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::print_stdout, missing_docs)]
#![allow(dead_code, reason = "the tests use more of it")]

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};

use heatcast::web::{Server, Settings};

#[path = "../tests/it/fake_station.rs"]
mod fake_station;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let port = arguments.next().map_or(8080, |port| port.parse().expect("a port"));
    let names: Vec<String> = arguments.collect();
    let names = if names.is_empty() { vec!["studio".to_owned()] } else { names };
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let station = fake_station::FakeStation::new(&names, fake_station::Clip::bundled());
    let playing = station.play();
    let serve = |port: u16, token: Option<String>| {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let settings = Settings { address, token, hosts: Vec::new() };
        let server = Server::start(&settings, station.clone()).expect("the server starts");
        println!("http://{}/", server.address());
        server
    };
    let open = serve(port, None);
    let locked = std::env::var("HEATCAST_TOKEN").ok().map(|token| serve(0, Some(token)));
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    drop(playing);
    locked.into_iter().chain([open]).for_each(Server::stop);
}
