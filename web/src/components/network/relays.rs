//! The relays as a table, a page of it at a time.

use std::rc::Rc;

use allium_shared::client::api::RelayView;
use allium_shared::crypto::keys::RelayIdentity;
use allium_shared::netdir::RelayRole;
use web_sys::{HtmlElement, HtmlInputElement, HtmlSelectElement, ScrollIntoViewOptions, ScrollLogicalPosition};
use yew::prelude::*;

use super::percent;
use crate::state::network::{Network, Order, Query, RoleSum, Tint};
use crate::strings;

/// How many rows are drawn at once.
const PAGE: usize = 50;

/// How many relays of the same family are named.
const RELATIVES: usize = 12;

/// The columns, each with the sort order of a click on its header.
const COLUMNS: [(&str, Option<Order>); 6] = [
    (strings::COLUMN_RELAY, Some(Order::Name)),
    (strings::COLUMN_ROLES, None),
    (strings::COLUMN_WEIGHT, Some(Order::Weight)),
    (strings::COLUMN_HEALTH, Some(Order::Health)),
    (strings::COLUMN_ADDRESS, None),
    (strings::COLUMN_VERSION, Some(Order::Version)),
];

#[derive(PartialEq, Properties)]
pub struct Props {
    pub network: Rc<Network>,
    pub query: Query,
    pub ask: Callback<Query>,
    pub chosen: Option<RelayIdentity>,
    pub choose: Callback<RelayIdentity>,
}

#[component]
pub fn Relays(props: &Props) -> Html {
    let Props { network, query, ask, choose, .. } = props;
    let chosen = props.chosen;
    let page = use_state_eq(|| 0_usize);
    let (section, table) = (use_node_ref(), use_node_ref());
    let selected = {
        let network = Rc::clone(network);
        use_memo((Rc::clone(&network), query.clone()), move |(_, query)| network.select(query))
    };
    // A new query starts at its first page.
    use_effect_with(query.clone(), {
        let page = page.setter();
        move |_| page.set(0)
    });
    // A relay chosen in the picture is shown, on whatever page it is.
    use_effect_with(chosen, {
        let (network, selected, page, table) = (Rc::clone(network), Rc::clone(&selected), page.setter(), table.clone());
        move |chosen| {
            let is_chosen = |index: &usize| network.relay(*index).map(|relay| relay.identity) == *chosen;
            if let Some(place) = chosen.and_then(|_| selected.iter().position(is_chosen)) {
                page.set(place / PAGE);
                if let Some(table) = table.cast::<HtmlElement>() {
                    let facts = table.query_selector(".more").ok().flatten();
                    let nearest = ScrollIntoViewOptions::new();
                    nearest.set_block(ScrollLogicalPosition::Nearest);
                    let shown = facts.unwrap_or_else(|| table.into());
                    shown.scroll_into_view_with_scroll_into_view_options(&nearest);
                }
            }
        }
    });

    let pages = selected.len().div_ceil(PAGE).max(1);
    let at = (*page).min(pages - 1);
    let rows = selected.iter().skip(at * PAGE).take(PAGE);
    let heaviest = network.picture.florets.first().and_then(|floret| network.relay(floret.index));
    let most = heaviest.map_or(1, |relay| relay.weight.max(1));
    // The next page starts at the same position on the screen.
    let go = {
        let (page, section) = (page.setter(), section.clone());
        Callback::from(move |to| {
            page.set(to);
            if let Some(section) = section.cast::<HtmlElement>() {
                section.scroll_into_view();
            }
        })
    };
    html! {
        <section ref={section} class="relays" aria-label={strings::RELAYS_TITLE}>
            <Filter network={Rc::clone(network)} query={query.clone()} ask={ask.clone()} />
            <p class="hint" role="status" data-testid="network-found">{ strings::found(selected.len(), network.len()) }</p>
            <table ref={table} role="table" data-testid="relays">
                <thead role="rowgroup">
                    <tr role="row">{ for COLUMNS.into_iter().map(|(name, order)| head(name, order, query, ask)) }</tr>
                </thead>
                <tbody role="rowgroup">
                    { for rows.filter_map(|index| {
                        let relay = network.relay(*index)?;
                        let is_chosen = chosen == Some(relay.identity);
                        Some(html! {
                            <Row key={relay.identity.to_hex()} network={Rc::clone(network)} index={*index} {most} {is_chosen}
                                choose={choose.clone()} />
                        })
                    }) }
                </tbody>
            </table>
            if pages > 1 {
                <Pages {at} {pages} {go} />
            }
        </section>
    }
}

fn head(name: &'static str, order: Option<Order>, query: &Query, ask: &Callback<Query>) -> Html {
    let Some(order) = order else { return html! { <th role="columnheader" scope="col">{ name }</th> } };
    let is_current = query.order == order;
    let (sort, mark) = match (is_current, query.reversed) {
        (false, _) => ("none", ""),
        (true, false) => (if order == Order::Weight { "descending" } else { "ascending" }, "▾"),
        (true, true) => (if order == Order::Weight { "ascending" } else { "descending" }, "▴"),
    };
    let onclick = {
        let (query, ask) = (query.clone(), ask.clone());
        Callback::from(move |_: MouseEvent| {
            ask.emit(Query { order, reversed: is_current && !query.reversed, ..query.clone() });
        })
    };
    html! {
        <th role="columnheader" scope="col" aria-sort={sort}>
            <button type="button" class="sort" {onclick} data-testid={format!("sort-{order:?}").to_lowercase()}>
                { name }<span aria-hidden="true">{ mark }</span>
            </button>
        </th>
    }
}

#[derive(PartialEq, Properties)]
struct FilterProps {
    network: Rc<Network>,
    query: Query,
    ask: Callback<Query>,
}

/// The search, the roles, and on a phone the order.
#[component]
fn Filter(props: &FilterProps) -> Html {
    let FilterProps { network, query, ask } = props;
    let oninput = {
        let (query, ask) = (query.clone(), ask.clone());
        Callback::from(move |event: InputEvent| {
            if let Some(field) = event.target_dyn_into::<HtmlInputElement>() {
                ask.emit(Query { text: field.value(), ..query.clone() });
            }
        })
    };
    let arrange = {
        let (query, ask) = (query.clone(), ask.clone());
        Callback::from(move |event: Event| {
            let order = event.target_dyn_into::<HtmlSelectElement>().and_then(|field| {
                let order = |(name, order): (&str, Option<Order>)| order.filter(|_| name == field.value());
                COLUMNS.into_iter().find_map(order)
            });
            if let Some(order) = order {
                ask.emit(Query { order, reversed: false, ..query.clone() });
            }
        })
    };
    let chip = |sum: &RoleSum| {
        let RoleSum { role, count, share } = *sum;
        let pressed = query.role == Some(role);
        let onclick = {
            let (query, ask) = (query.clone(), ask.clone());
            Callback::from(move |_: MouseEvent| {
                ask.emit(Query { role: (!pressed).then_some(role), ..query.clone() });
            })
        };
        html! {
            <button type="button" class="chip" aria-pressed={pressed.to_string()} disabled={count == 0 && !pressed} {onclick}
                title={strings::role_sum(role, count, &percent(share))} data-testid={format!("role-{role}")}>
                { strings::role(role) }<span>{ count }</span>
            </button>
        }
    };
    html! {
        <div class="filter">
            <input class="field" type="search" value={query.text.clone()} {oninput} placeholder={strings::SEARCH}
                aria-label={strings::SEARCH} data-testid="network-search" autocomplete="off" spellcheck="false" />
            <select class="field order" aria-label={strings::ORDER} onchange={arrange}>
                { for COLUMNS.into_iter().filter_map(|(name, order)| order.map(|order| html! {
                    <option value={name} selected={query.order == order}>{ strings::order_by(name) }</option>
                })) }
            </select>
            <div class="chips" role="group" aria-label={strings::COLUMN_ROLES}>{ for network.roles.iter().map(chip) }</div>
        </div>
    }
}

#[derive(PartialEq, Properties)]
struct RowProps {
    network: Rc<Network>,
    index: usize,
    /// The heaviest relay's weight.
    most: u32,
    is_chosen: bool,
    choose: Callback<RelayIdentity>,
}

#[component]
fn Row(props: &RowProps) -> Html {
    let RowProps { network, index, most, is_chosen, choose } = props;
    let Some(relay) = network.relay(*index) else { return Html::default() };
    let toggle = {
        let (choose, identity) = (choose.clone(), relay.identity);
        Callback::from(move |_: MouseEvent| choose.emit(identity))
    };
    let share = network.share(relay);
    let roles: Vec<&str> = relay.roles.iter().map(|role| role.as_str()).collect();
    html! {
        <>
            <tr role="row" class={classes!("relay", is_chosen.then_some("chosen"))} data-testid="relay"
                data-name={relay.nickname.to_string()} data-identity={relay.identity.to_hex()}
                data-weight={relay.weight.to_string()} data-roles={roles.join(" ")}>
                <td role="cell" class="cell-name">
                    <button type="button" aria-expanded={is_chosen.to_string()} onclick={toggle} data-testid="relay-more">
                        <i class={classes!("swatch", Tint::of(relay).as_str())} aria-hidden="true" />
                        <b>{ relay.nickname.to_string() }</b>
                        <code>{ relay.identity.to_string() }</code>
                    </button>
                </td>
                <td role="cell" class="cell-roles">{ for relay.roles.iter().map(|role| html! {
                    <span class="role">{ strings::role(*role) }</span>
                }) }</td>
                <td role="cell" class="cell-weight">
                    <span>{ relay.weight }</span>
                    <svg class="share" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">
                        <rect class="share-all" width="100" height="6" />
                        <rect width={format!("{:.1}", f64::from(relay.weight) * 100.0 / f64::from(*most))} height="6" />
                    </svg>
                    <span class="hint">{ percent(share) }</span>
                </td>
                <td role="cell" class={classes!("cell-health", (relay.health < 90).then_some("poor"))}>
                    { strings::health(relay.health) }
                </td>
                <td role="cell" class="cell-address"><span>{ relay.url.as_str() }</span></td>
                <td role="cell" class="cell-version">{ &relay.version }</td>
            </tr>
            if *is_chosen {
                <tr role="row" class="more"><td role="cell" colspan="6">{ more(network, *index, relay) }</td></tr>
            }
        </>
    }
}

/// Everything else that the consensus says about a relay.
fn more(network: &Network, index: usize, relay: &RelayView) -> Html {
    let relatives: Vec<String> =
        network.relatives(index).take(RELATIVES).map(|other| other.nickname.to_string()).collect();
    let others = network.relatives(index).count().saturating_sub(relatives.len());
    let policy = relay.exit_policy.iter().map(|rule| html! { <li><code>{ rule.to_string() }</code></li> });
    html! {
        <dl class="relay-facts" data-testid="relay-facts">
            <dt>{ strings::IDENTITY }</dt><dd><code>{ relay.identity.to_hex() }</code></dd>
            <dt>{ strings::COLUMN_ADDRESS }</dt>
            <dd>
                <code>{ relay.url.as_str() }</code>
                if let Some(url) = &relay.secure_url {
                    <br /><code>{ url.as_str() }</code>
                }
            </dd>
            <dt>{ strings::COLUMN_WEIGHT }</dt>
            <dd>{ strings::weight_explained(relay.weight, &percent(network.share(relay))) }</dd>
            <dt>{ strings::COLUMN_HEALTH }</dt><dd>{ strings::health_explained(relay.health) }</dd>
            <dt>{ strings::COLUMN_VERSION }</dt>
            <dd>{ if relay.version.is_empty() { strings::VERSION_NONE } else { relay.version.as_str() } }</dd>
            <dt>{ strings::FAMILY }</dt>
            <dd>
                if let Some(family) = &relay.family {
                    <code>{ family }</code><br />{ strings::relatives(&relatives, others) }
                } else {
                    { strings::FAMILY_NONE }
                }
            </dd>
            if relay.has(RelayRole::Exit) || !relay.exit_policy.is_empty() {
                <dt>{ strings::EXIT_POLICY }</dt>
                <dd>
                    if relay.exit_policy.is_empty() {
                        { strings::EXIT_POLICY_NONE }
                    } else {
                        <ul>{ for policy }</ul>
                    }
                </dd>
            }
        </dl>
    }
}

#[derive(PartialEq, Properties)]
struct PagesProps {
    at: usize,
    pages: usize,
    go: Callback<usize>,
}

#[component]
fn Pages(props: &PagesProps) -> Html {
    let PagesProps { at, pages, go } = props;
    let step = |to: Option<usize>, name: &'static str, testid: &'static str| {
        let to = to.filter(|to| to < pages);
        let go = go.clone();
        let onclick = Callback::from(move |_: MouseEvent| {
            if let Some(to) = to {
                go.emit(to);
            }
        });
        html! {
            <button type="button" class="button" disabled={to.is_none()} {onclick} data-testid={testid}>{ name }</button>
        }
    };
    html! {
        <nav class="pages" aria-label={strings::PAGES}>
            { step(at.checked_sub(1), strings::PAGE_BEFORE, "page-before") }
            <span>{ strings::page_of(at + 1, *pages) }</span>
            { step(Some(at + 1), strings::PAGE_NEXT, "page-next") }
        </nav>
    }
}
