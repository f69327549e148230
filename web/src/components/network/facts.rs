//! The signatures, validity and parameters of the consensus.

use std::rc::Rc;

use allium_shared::client::api::{AuthorityView, NetworkView};
use allium_shared::time::UnixTime;
use yew::prelude::*;

use crate::components::{Glyph, Icon};
use crate::format;
use crate::hooks::use_interval_while_visible;
use crate::state::network::Network;
use crate::strings;

#[derive(PartialEq, Properties)]
pub struct Props {
    pub network: Rc<Network>,
}

#[component]
pub fn Facts(props: &Props) -> Html {
    let about = &props.network.about;
    let signed = about.authorities.iter().filter(|authority| authority.signed).count();
    html! {
        <section class="facts">
            <div class="card">
                <h2>{ strings::SIGNED_TITLE }</h2>
                <p class="facts-signed" data-testid="network-signed">
                    <Icon glyph={Glyph::Check} />
                    <span>{ strings::signed_by(signed, about.authorities.len(), about.quorum) }</span>
                </p>
                <p class="hint">{ strings::SIGNED_HINT }</p>
                <ul class="authorities">{ for about.authorities.iter().map(authority) }</ul>
            </div>
            <div class="card">
                <h2>{ strings::TIMES_TITLE }</h2>
                <Times begin={about.valid_after} next={about.fresh_until} end={about.valid_until} />
            </div>
            <div class="card">
                <h2>{ strings::NOTHING_TITLE }</h2>
                <p class="hint">{ strings::NOTHING_TEXT }</p>
                { parameters(about) }
            </div>
        </section>
    }
}

fn authority(authority: &AuthorityView) -> Html {
    let key: String = authority.key.chars().take(16).collect();
    let state = if authority.signed { strings::SIGNED } else { strings::NOT_SIGNED };
    let voted = (!authority.voted).then_some(strings::NEVER_VOTED);
    html! {
        <li class={classes!((!authority.signed).then_some("unsigned"))} data-testid="authority"
            data-signed={authority.signed.to_string()}>
            <i class="seal" aria-hidden="true" />
            <b>{ authority.nickname.to_string() }</b>
            <span class="authority-state">{ state }{ for voted }</span>
            <code title={authority.key.clone()}>{ key }</code>
            <span class="authority-url">{ &authority.url }</span>
        </li>
    }
}

#[derive(PartialEq, Properties)]
struct TimesProps {
    begin: u64,
    next: u64,
    end: u64,
}

/// The times of the consensus, updated every second.
#[component]
fn Times(props: &TimesProps) -> Html {
    let TimesProps { begin, next, end } = *props;
    let now = use_state_eq(format::now_secs);
    let tick = {
        let now = now.setter();
        Callback::from(move |()| now.set(format::now_secs()))
    };
    use_interval_while_visible((begin, next, end), 1_000, tick);
    let row = |name: &'static str, at: u64, testid: &'static str, hint: String| {
        let at = UnixTime::from_millis(at.saturating_mul(1_000));
        html! {
            <>
                <dt>{ name }</dt>
                <dd data-testid={testid}><time title={format::full(at)}>{ format::moment(at) }</time>
                    <span class="hint">{ hint }</span></dd>
            </>
        }
    };
    let until = |at: u64, over: &'static str| match at.checked_sub(*now).filter(|left| *left > 0) {
        Some(left) => strings::in_time(left),
        None => over.to_owned(),
    };
    html! {
        <dl class="times">
            { row(strings::TIMES_BEGIN, begin, "network-begin", strings::ago(now.saturating_sub(begin))) }
            { row(strings::TIMES_NEXT, next, "network-next", until(next, strings::DUE_NOW)) }
            { row(strings::TIMES_END, end, "network-end", until(end, strings::RAN_OUT)) }
        </dl>
    }
}

fn parameters(about: &NetworkView) -> Html {
    html! {
        <details class="parameters" data-testid="network-parameters">
            <summary>{ strings::PARAMETERS_TITLE }</summary>
            <dl>
                <dt>{ strings::NETWORK_ID }</dt><dd><code>{ &about.network }</code></dd>
                <dt>{ strings::DIGEST }</dt><dd><code>{ &about.digest }</code></dd>
                <dt>{ strings::RULES }</dt><dd>{ about.rule_set }</dd>
                { for about.parameters.iter().map(|(name, value)| html! {
                    <><dt><code>{ name }</code></dt><dd>{ value }</dd></>
                }) }
            </dl>
            if about.parameters.is_empty() {
                <p class="hint">{ strings::PARAMETERS_NONE }</p>
            }
        </details>
    }
}
