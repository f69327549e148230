//! The network as a flower. The table has the same information for screen readers.

use std::fmt::Write as _;
use std::rc::Rc;

use allium_shared::client::api::RelayView;
use allium_shared::crypto::keys::RelayIdentity;
use allium_shared::netdir::RelayRole;
use yew::prelude::*;

use super::percent;
use crate::state::network::{Bar, Floret, HEART, Network, Picture, SIZE, Tint};
use crate::strings;

/// The smallest radius of a floret with petals and the relay's name.
const NAMED: f64 = 25.0;
const PETALLED: f64 = 5.0;

/// The smallest radius of a floret with a second ring of petals.
const FULL: f64 = 12.0;

/// The maximum number of florets with a stalk each.
const STALKS: usize = 150;

#[derive(PartialEq, Properties)]
pub struct Props {
    pub network: Rc<Network>,
    /// Relays without this role are drawn faintly.
    pub role: Option<RelayRole>,
    pub chosen: Option<RelayIdentity>,
    pub choose: Callback<RelayIdentity>,
}

#[component]
pub fn Flower(props: &Props) -> Html {
    let Props { network, choose, .. } = props;
    let picture = &network.picture;
    let petals = use_memo((), |()| petals());
    let is_chosen = |relay: &RelayView| Some(relay.identity) == props.chosen;
    let chosen = picture.florets.iter().filter_map(|floret| network.relay(floret.index)).find(|relay| is_chosen(relay));
    let kin = chosen.and_then(|relay| relay.family.as_ref());
    let florets = picture.florets.iter().filter_map(|floret| {
        let relay = network.relay(floret.index)?;
        let is_chosen = is_chosen(relay);
        let class = classes!(
            "floret",
            floret.tint.as_str(),
            (!floret.well).then_some("drooping"),
            props.role.is_some_and(|role| !relay.has(role)).then_some("dim"),
            is_chosen.then_some("chosen"),
            (kin.is_some() && relay.family.as_ref() == kin && !is_chosen).then_some("kin"),
        );
        let choose = {
            let (choose, identity) = (choose.clone(), relay.identity);
            Callback::from(move |_: MouseEvent| choose.emit(identity))
        };
        Some(draw(network, relay, floret, class, &petals, choose))
    });
    html! {
        <figure class="flower">
            <svg viewBox={format!("0 0 {} {}", SIZE.0, SIZE.1)} role="img" aria-labelledby="flower-title flower-text"
                data-testid="network-picture">
                <title id="flower-title">{ strings::PICTURE_TITLE }</title>
                <desc id="flower-text">{ strings::picture_text(network.len(), picture.rest) }</desc>
                { stem(picture) }
                if !picture.pollen.is_empty() {
                    <path class="pollen" d={dots(&picture.pollen)} />
                }
                <g>{ for florets }</g>
                { families(picture) }
                { names(network) }
            </svg>
            <figcaption>
                { legend(picture) }
                if picture.rest > 0 {
                    <p class="hint" data-testid="network-rest">
                        { strings::picture_rest(picture.florets.len(), picture.rest, &percent(picture.rest_share),
                            picture.relays_per_dot()) }
                    </p>
                    { histogram(&picture.bars) }
                }
            </figcaption>
        </figure>
    }
}

fn draw(
    network: &Network,
    relay: &RelayView,
    floret: &Floret,
    class: Classes,
    petals: &str,
    onclick: Callback<MouseEvent>,
) -> Html {
    let Floret { x, y, r, .. } = *floret;
    let title = strings::relay_line(relay, &percent(network.share(relay)));
    let inner =
        (r >= FULL).then(|| html! { <path class="inner" transform="rotate(30) scale(0.58)" d={petals.to_owned()} /> });
    let shape = if r < PETALLED {
        html! { <circle r="0.92" /> }
    } else {
        html! { <><path d={petals.to_owned()} />{ for inner }<circle class="heart" r="0.17" /></> }
    };
    html! {
        <g {class} key={relay.identity.to_hex()} transform={format!("translate({x:.1} {y:.1})")} {onclick}
            data-testid="floret" data-name={relay.nickname.to_string()}>
            <title>{ title }</title>
            <g class="petals" transform={format!("scale({r:.2})")}>
                // The gaps between the petals react to the pointer too.
                <circle class="reach" r="1" />
                { shape }
            </g>
        </g>
    }
}

/// The names of florets that are large enough, drawn above all florets.
fn names(network: &Network) -> Html {
    let named = network.picture.florets.iter().take_while(|floret| floret.r >= NAMED);
    let name = |floret: &Floret| {
        let relay = network.relay(floret.index)?;
        let place = format!("translate({:.1} {:.1})", floret.x, floret.y + floret.r - 2.0);
        Some(html! {
            <text key={relay.identity.to_hex()} transform={place}>{ relay.nickname.to_string() }</text>
        })
    };
    html! { <g class="names" aria-hidden="true">{ for named.filter_map(name) }</g> }
}

/// Six petals around a point, with a radius of one.
fn petals() -> String {
    let mut path = String::new();
    for petal in 0..6 {
        let angle = f64::from(petal) * std::f64::consts::TAU / 6.0;
        let at = |distance: f64, turn: f64| {
            let (sin, cos) = (angle + turn).sin_cos();
            format!("{:.3} {:.3}", distance * sin, -distance * cos)
        };
        let (tip, left, right) = (at(1.0, 0.0), [at(0.42, -0.95), at(1.0, -0.62)], [at(1.0, 0.62), at(0.42, 0.95)]);
        let _ = write!(path, "M0 0C{} {} {tip}C{} {} 0 0Z", left[0], left[1], right[0], right[1]);
    }
    path
}

/// Lines between the relays of each family, if there are few enough florets.
fn families(picture: &Picture) -> Html {
    if picture.kin.is_empty() || picture.florets.len() > STALKS {
        return Html::default();
    }
    let mut path = String::new();
    for (one, other) in &picture.kin {
        if let (Some(one), Some(other)) = (picture.florets.get(*one), picture.florets.get(*other)) {
            let _ = write!(path, "M{:.1} {:.1}L{:.1} {:.1}", one.x, one.y, other.x, other.y);
        }
    }
    html! { <path class="families" d={path} /> }
}

/// The stem with its leaves, and stalks if there are few enough florets.
fn stem(picture: &Picture) -> Html {
    let (x, y) = HEART;
    let bottom = SIZE.1;
    let mut stalks = String::new();
    if picture.florets.len() <= STALKS {
        for floret in &picture.florets {
            let (mid_x, mid_y) = (f64::midpoint(x, floret.x), f64::midpoint(y, floret.y) + 14.0);
            let _ = write!(stalks, "M{x} {y}Q{mid_x:.1} {mid_y:.1} {:.1} {:.1}", floret.x, floret.y);
        }
    }
    html! {
        <>
            <path class="stem" d={format!("M{x} {y}C{x} 330 {} 420 {} {bottom}", x - 6.0, x + 2.0)} />
            <path class="leaf" d={format!("M{0} {bottom}C{1} 490 {2} 452 {3} 442C{2} 470 {1} 505 {0} {bottom}Z",
                x + 2.0, x + 34.0, x + 70.0, x + 96.0)} />
            <path class="leaf" d={format!("M{0} {bottom}C{1} 496 {2} 470 {3} 462C{2} 486 {1} 508 {0} {bottom}Z",
                x + 2.0, x - 28.0, x - 60.0, x - 84.0)} />
            <path class="stalks" d={stalks} />
        </>
    }
}

/// A dot at each position: a line of length zero with round ends.
fn dots(places: &[(f64, f64)]) -> String {
    let mut path = String::new();
    for (x, y) in places {
        let _ = write!(path, "M{x:.1} {y:.1}h0");
    }
    path
}

/// The legend of the colours that occur.
fn legend(picture: &Picture) -> Html {
    let entries = Tint::ALL.into_iter().filter_map(|tint| {
        let count = picture.florets.iter().filter(|floret| floret.tint == tint).count();
        (count > 0).then(|| {
            html! {
                <li class={classes!("tint", tint.as_str())}><i />{ meaning(tint) }</li>
            }
        })
    });
    let droops = picture.florets.iter().any(|floret| !floret.well);
    html! {
        <ul class="legend">
            { for entries }
            if !picture.kin.is_empty() && picture.florets.len() <= STALKS {
                <li class="tint kin"><i />{ strings::KIN }</li>
            }
            if droops {
                <li class="tint drooping"><i />{ strings::DROOPING }</li>
            }
        </ul>
    }
}

/// Which relays have a colour.
const fn meaning(tint: Tint) -> &'static str {
    match tint {
        Tint::Guard => strings::TINT_GUARD,
        Tint::Both => strings::TINT_BOTH,
        Tint::Exit => strings::TINT_EXIT,
        Tint::Between => strings::TINT_BETWEEN,
    }
}

/// The histogram of weights.
fn histogram(bars: &[Bar]) -> Html {
    const HEIGHT: f64 = 64.0;
    const STEP: f64 = 26.0;
    let most = bars.iter().map(|bar| bar.count).max().unwrap_or(1) as f64;
    let drawn = bars.iter().enumerate().map(|(at, bar)| {
        // Square roots keep a few heavy relays among thousands visible.
        let height = if bar.count == 0 { 0.0 } else { (HEIGHT * (bar.count as f64 / most).sqrt()).max(1.5) };
        let x = at as f64 * STEP;
        html! {
            <g key={bar.from}>
                <title>{ strings::bar(bar.from, bar.count) }</title>
                <rect class="bar" x={x.to_string()} y={format!("{:.1}", HEIGHT - height + 12.0)} width={(STEP - 4.0).to_string()}
                    height={format!("{height:.1}")} rx="2" />
                <text x={(x + STEP / 2.0 - 2.0).to_string()} y={(HEIGHT + 24.0).to_string()}>{ brief(bar.from) }</text>
            </g>
        }
    });
    html! {
        <svg class="histogram" viewBox={format!("0 0 {} {}", bars.len() as f64 * STEP, HEIGHT + 30.0)} role="img"
            aria-label={strings::HISTOGRAM} data-testid="network-histogram">
            { for drawn }
        </svg>
    }
}

/// A short form of a number.
fn brief(number: u32) -> String {
    match number {
        0..1_000 => number.to_string(),
        1_000..1_000_000 => format!("{}k", number / 1_000),
        1_000_000..1_000_000_000 => format!("{}M", number / 1_000_000),
        _ => format!("{}G", number / 1_000_000_000),
    }
}
