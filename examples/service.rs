//! A web service that backs its own database up every night, and says on `/health` whether that goes well: 503 when an
//! objective is missed.
//!
//! `cargo run --example service -- app.db backups 127.0.0.1:8080 24h 26h`
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::time::Duration;

use axum::{Json, Router, extract::State, http::StatusCode, routing::get};
use backup::{Events, config::parse_duration, prelude::*};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::{net::TcpListener, runtime::Runtime};

type AnyError = Box<dyn std::error::Error>;

fn main() -> Result<(), AnyError> {
    Runtime::new()?.block_on(serve())
}

async fn serve() -> Result<(), AnyError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [database, store, address, every, rpo] = arguments.as_slice() else {
        return Err("usage: service DATABASE STORE ADDRESS EVERY RPO".into());
    };
    let settings = JobSettings::default()
        .with_objectives(Objectives::new(Some(parse_duration(rpo)?), None, None))
        .with_retention("daily=30,weekly=12,monthly=12".parse::<Keep>()?);
    let backups =
        Backups::builder().store(store.as_str()).source("app", database).settings("app", settings).build()?;
    let app = backups.job("app")?;
    tokio::spawn(log(app.events()));
    tokio::spawn(nightly(app.clone(), parse_duration(every)?.unsigned_abs()));

    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    let routes = Router::new().route("/health", get(health)).with_state(app);
    Ok(axum::serve(listener, routes).await?)
}

/// The work is on a thread of its own: no request waits for a backup.
async fn nightly(app: Job, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        if let Err(error) = app.run(RunOptions::default().with_tag("nightly")).await {
            eprintln!("no backup was taken: {error:?}");
        }
    }
}

/// One line of JSON for everything but progress.
async fn log(mut events: Events) {
    while let Some(told) = events.next().await {
        if !matches!(told.event, Event::Progress { .. }) {
            println!("{}", json!(told));
        }
    }
}

async fn health(State(app): State<Job>) -> (StatusCode, Json<Value>) {
    match app.status(Objectives::default()).await {
        Ok(status) if status.is_well() => (StatusCode::OK, Json(json!(status))),
        Ok(status) => (StatusCode::SERVICE_UNAVAILABLE, Json(json!(status))),
        Err(error) => {
            let told = json!({ "error": error.to_string(), "hint": error.hint() });
            (StatusCode::SERVICE_UNAVAILABLE, Json(told))
        }
    }
}
