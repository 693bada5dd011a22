//! What the service offers over HTTP.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::routing::get;
use axum::{Json, Router};
use jobcore::id::{JobId, TaskId};
use jobcore::store::{JobFilter, PageRequest};
use jobcore::{Engine, Scheduler as _, SchedulerExt as _, Trigger};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::database::{Database, Order};
use crate::failure::Failure;
use crate::jobs;

/// What every request can reach.
#[derive(Clone)]
struct Service {
    engine: Arc<Engine>,
    database: Arc<dyn Database>,
}

pub(crate) fn routes(engine: Arc<Engine>, database: Arc<dyn Database>) -> Router {
    Router::new()
        .route("/orders", get(list_orders).post(place_order))
        .route("/orders/{order_id}", get(show_order))
        .route("/jobs", get(list_jobs))
        .with_state(Service { engine, database })
}

#[derive(Debug, Deserialize)]
struct NewOrder {
    item: String,
}

/// Inserts the order and enqueues its confirmation in one transaction: when this answers, both are durable.
async fn place_order(
    State(Service { engine, database }): State<Service>,
    Json(NewOrder { item }): Json<NewOrder>,
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<Order>), Failure> {
    if item.is_empty() || item.len() > 255 {
        return Err(Failure::Invalid("item: must have 1 to 255 bytes"));
    }
    let order_id = Uuid::now_v7().to_string();
    let task_id = TaskId::new(format!("confirm-{order_id}"))?;
    let confirm = Trigger::new(JobId::new(jobs::CONFIRM)?)
        .task_id(task_id.clone())
        .arguments(&order_id)?;
    let plan = engine.plan_triggers(vec![confirm]).await?;
    let order = Order {
        order_id,
        item,
        task_id: task_id.to_string(),
        create_time: plan.now(),
        confirm_time: None,
    };
    database.place(&order, &plan).await?.wake();
    let location = format!("/orders/{}", order.order_id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(order)))
}

async fn list_orders(State(service): State<Service>) -> Result<Json<Vec<Order>>, Failure> {
    Ok(Json(service.database.newest().await?))
}

/// An order with its task, and the latest attempt of that.
async fn show_order(
    State(Service { engine, database }): State<Service>,
    Path(order_id): Path<String>,
) -> Result<Json<Value>, Failure> {
    let order = database.find(&order_id).await?;
    let order = order.ok_or_else(|| Failure::NoOrder(order_id))?;
    let task_id = TaskId::new(order.task_id.as_str())?;
    let task = engine.get_task(&task_id).await?;
    let attempt = engine.latest_attempt(&task_id).await?;
    Ok(Json(json!({ "order": order, "task": task, "attempt": attempt })))
}

async fn list_jobs(State(service): State<Service>) -> Result<Json<Value>, Failure> {
    let page = PageRequest::first(100);
    let jobs = service.engine.list_jobs(&JobFilter::default(), &page).await?;
    Ok(Json(json!(jobs)))
}
