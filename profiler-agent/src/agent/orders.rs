//! What signals ask of the agent.

use std::sync::mpsc::{Receiver, Sender};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What the agent shall do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// SIGHUP.
    Reload,
    /// SIGTERM or SIGINT.
    Stop,
    /// Pods have changed.
    Pods,
}

/// The signals, and where they are told.
pub(super) struct Orders {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    told: Sender<Order>,
}

/// Handles the signals from now on; needs the runtime to be entered.
pub(super) fn channel() -> std::io::Result<(Orders, Receiver<Order>)> {
    let (told, orders) = std::sync::mpsc::channel();
    let signals = Orders {
        terminate: signal(SignalKind::terminate())?,
        interrupt: signal(SignalKind::interrupt())?,
        hang_up: signal(SignalKind::hangup())?,
        told,
    };
    Ok((signals, orders))
}

impl Orders {
    /// Tells of pods that have changed.
    pub(super) fn pods(&self) -> impl Fn() + Send + use<> {
        let told = self.told.clone();
        // Where nobody listens any more, the agent ends.
        move || {
            let _ = told.send(Order::Pods);
        }
    }

    /// Tells every signal that comes.
    pub(super) async fn tell(mut self) {
        loop {
            let order = tokio::select! {
                _ = self.terminate.recv() => {
                    tracing::info!("SIGTERM: sending what is left");
                    Order::Stop
                }
                _ = self.interrupt.recv() => {
                    tracing::info!("SIGINT: sending what is left");
                    Order::Stop
                }
                _ = self.hang_up.recv() => Order::Reload,
            };
            if self.told.send(order).is_err() {
                break;
            }
        }
    }
}
