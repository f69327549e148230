//! The allium: a globe of small stars, in three rings like the three hops of a circuit.

use std::f64::consts::TAU;

use allium_shared::client::api::Progress;
use yew::prelude::*;

/// How far the flower has opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bloom {
    /// Closed.
    Bud,
    /// The heart is open.
    Heart,
    /// The heart and the inner ring are open.
    Half,
    /// All rings are open.
    Full,
}

impl Bloom {
    /// The flower opens as the client gets connected.
    pub fn of(step: Option<Progress>) -> Self {
        match step {
            None | Some(Progress::FetchingDirectory) => Self::Bud,
            Some(Progress::ConnectingGuard) => Self::Heart,
            Some(Progress::BuildingCircuit) => Self::Half,
            Some(Progress::Ready) => Self::Full,
        }
    }
}

/// One ring of florets: when it opens, how many there are, how far from the heart, how large, and turned how far.
struct Ring {
    opens: Bloom,
    florets: u8,
    distance: f64,
    size: f64,
    turn: f64,
}

const RINGS: [Ring; 3] = [
    Ring { opens: Bloom::Full, florets: 12, distance: 15.2, size: 5.0, turn: 0.0 },
    Ring { opens: Bloom::Half, florets: 6, distance: 8.2, size: 5.0, turn: 0.5 },
    Ring { opens: Bloom::Heart, florets: 1, distance: 0.0, size: 5.0, turn: 0.25 },
];

const CENTRE: (f64, f64) = (24.0, 21.0);

#[derive(PartialEq, Properties)]
pub struct Props {
    pub bloom: Bloom,
    #[prop_or_default]
    pub class: Classes,
}

/// Draws the flower. Its meaning is written beside it.
#[component]
pub fn Logo(props: &Props) -> Html {
    let rings = RINGS.iter().zip(["outer", "inner", "heart"]).map(|(ring, name)| {
        let open = (props.bloom >= ring.opens).then_some("open");
        html! { <path class={classes!("ring", name, open)} d={florets(ring)} /> }
    });
    html! {
        <svg class={classes!("logo", props.class.clone())} viewBox="0 0 48 52" aria-hidden="true" focusable="false">
            <path class="stem" d="M24 26V51" />
            { for rings }
        </svg>
    }
}

/// The outlines of a ring's florets: stars of six petals, each pointing away from the heart.
fn florets(ring: &Ring) -> String {
    (0..ring.florets)
        .map(|floret| {
            let angle = (f64::from(floret) + ring.turn) / f64::from(ring.florets) * TAU;
            let (x, y) = (CENTRE.0 + ring.distance * angle.cos(), CENTRE.1 + ring.distance * angle.sin());
            star(x, y, ring.size, angle)
        })
        .collect()
}

fn star(x: f64, y: f64, size: f64, turn: f64) -> String {
    let corners = (0..12_u8).map(|corner| {
        let radius = if corner % 2 == 0 { size } else { size * 0.46 };
        let angle = turn + f64::from(corner) / 12.0 * TAU;
        format!("{:.2} {:.2}", x + radius * angle.cos(), y + radius * angle.sin())
    });
    format!("M{}Z", corners.collect::<Vec<_>>().join("L"))
}
