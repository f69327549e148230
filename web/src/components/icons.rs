//! Icons in the colour of the surrounding text. Each has a label beside it.

use yew::prelude::*;

/// Which drawing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Glyph {
    Back,
    Check,
    Clock,
    Close,
    Copy,
    Down,
    DoubleCheck,
    Network,
    Lock,
    Send,
    Settings,
    Shield,
    ShieldCheck,
    Warning,
}

#[derive(PartialEq, Properties)]
pub struct Props {
    pub glyph: Glyph,
}

#[component]
pub fn Icon(props: &Props) -> Html {
    let (width, path) = match props.glyph {
        Glyph::Back => (16, "M10 3 5 8l5 5"),
        Glyph::Check => (16, "m3.5 8.5 3 3 6-7"),
        Glyph::Clock => (16, "M8 4.5V8l2.2 1.6M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2Z"),
        Glyph::Close => (16, "m4 4 8 8m0-8-8 8"),
        Glyph::Copy => (16, "M6 5.5h7.5v8H6zM3 10.5H2.5v-8H10V3"),
        Glyph::Down => (16, "M8 3v10m-4-4 4 4 4-4"),
        Glyph::DoubleCheck => (20, "m2.5 8.5 3 3 6-7M9.5 11l.5.5 6-7"),
        Glyph::Network => (
            16,
            "M8 1.5a1.9 1.9 0 1 0 0 3.8 1.9 1.9 0 0 0 0-3.8ZM3.3 10.2a1.9 1.9 0 1 0 0 3.8 1.9 1.9 0 0 0 0-3.8ZM12.7 10.2a1.9 \
             1.9 0 1 0 0 3.8 1.9 1.9 0 0 0 0-3.8ZM7.1 5.1 4.3 10.4M8.9 5.1l2.8 5.3M5.2 12.1h5.6",
        ),
        Glyph::Lock => (16, "M3.5 7h9v6.5h-9zM5.3 7V5.2a2.7 2.7 0 0 1 5.4 0V7M8 9.6v1.4"),
        Glyph::Send => (16, "M8 13V3M3.5 7.5 8 3l4.5 4.5"),
        Glyph::Settings => (
            16,
            "M2 5h5.2M10.8 5H14M2 11h2.2M7.8 11H14M9 3.2a1.8 1.8 0 1 0 0 3.6 1.8 1.8 0 0 0 0-3.6ZM6 9.2a1.8 1.8 0 1 0 0 3.6 1.8 1.8 0 \
             0 0 0-3.6Z",
        ),
        Glyph::Shield => (16, "M8 1.8 3 3.6v4c0 3.2 2.1 5.4 5 6.6 2.9-1.2 5-3.4 5-6.6v-4z"),
        Glyph::ShieldCheck => (16, "M8 1.8 3 3.6v4c0 3.2 2.1 5.4 5 6.6 2.9-1.2 5-3.4 5-6.6v-4zM5.6 8l1.7 1.7 3.1-3.4"),
        Glyph::Warning => (16, "M8 2 1.8 13.2h12.4zM8 6.5v3m0 2v.1"),
    };
    html! {
        <svg class="icon" width={width.to_string()} height="16" viewBox={format!("0 0 {width} 16")}
            aria-hidden="true" focusable="false">
            <path d={path} />
        </svg>
    }
}
