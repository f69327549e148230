//! The path of messages: you, the relays of your circuit, and the contact behind the rendezvous relay.

use std::rc::Rc;

use yew::prelude::*;

use crate::strings;

#[derive(PartialEq, Properties)]
pub struct Props {
    /// Nicknames from the guard to the rendezvous relay.
    pub hops: Option<Rc<[String]>>,
    pub contact: Rc<str>,
}

/// A row of dots with names.
#[component]
pub fn Path(props: &Props) -> Html {
    let Some(hops) = &props.hops else {
        return html! {
            <div class="path none">
                <ol data-testid="path" aria-label={strings::PATH_LABEL}></ol>
                <span class="path-none">{ strings::PATH_NONE }</span>
            </div>
        };
    };
    let relays = hops.iter().enumerate().map(|(at, name)| {
        let (class, role) = role(at, hops.len());
        // The style sheet draws the role, so that the list's text contains only names.
        html! {
            <li class={classes!("hop", class)} title={format!("{name}: {role}")}>
                <span data-role={role}>{ name.as_str() }</span>{ " " }
            </li>
        }
    });
    html! {
        <div class="path" title={strings::PATH_EXPLAINED}>
            <span class="hop end you"><span>{ strings::PATH_YOU }</span></span>
            <ol data-testid="path" aria-label={strings::PATH_LABEL}>{ for relays }</ol>
            <span class="hop hidden-hops" title={strings::PATH_HIDDEN}>
                <span class="visually-hidden">{ strings::PATH_HIDDEN }</span>
            </span>
            <span class="hop end"><span>{ &*props.contact }</span></span>
        </div>
    }
}

fn role(at: usize, hops: usize) -> (&'static str, &'static str) {
    if at == 0 {
        ("guard", strings::PATH_GUARD)
    } else if at + 1 == hops {
        ("meeting", strings::PATH_MEETING)
    } else {
        ("middle", strings::PATH_MIDDLE)
    }
}

/// The same without names, to explain how a message travels.
#[component]
pub fn PathPicture() -> Html {
    let hop = |class: &'static str, name: &'static str| {
        html! {
            <li class={classes!("hop", class)}><span>{ name }</span></li>
        }
    };
    html! {
        <ol class="path picture" aria-label={strings::PATH_LABEL}>
            { hop("end you", strings::PATH_YOU) }
            { hop("guard", strings::PATH_GUARD) }
            { hop("middle", strings::PATH_MIDDLE) }
            { hop("meeting", strings::PATH_MEETING) }
            { hop("hidden-hops", "") }
            { hop("end", strings::PATH_SOMEONE) }
        </ol>
    }
}
