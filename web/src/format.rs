//! Dates and times in the format of the browser's locale.

use allium_shared::time::UnixTime;
use js_sys::{Array, Date, Function, Intl, Object, Reflect};
use wasm_bindgen::JsValue;

use crate::strings;

thread_local! {
    // Creating a formatter is far more expensive than using it.
    static TIME: Option<Function> = formatter(&[("hour", "numeric"), ("minute", "2-digit")]);
    static SECOND: Option<Function> = formatter(&[("timeStyle", "medium")]);
    static MOMENT: Option<Function> = formatter(&[("dateStyle", "medium"), ("timeStyle", "short")]);
    static DAY: Option<Function> = formatter(&[("weekday", "long"), ("day", "numeric"), ("month", "long")]);
    static SHORT_DAY: Option<Function> = formatter(&[("day", "numeric"), ("month", "short")]);
    static FULL: Option<Function> = formatter(&[("dateStyle", "full"), ("timeStyle", "medium")]);
}

/// A day of the local calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Day(u32, u32, u32);

/// The local day of a moment.
pub fn day(at: UnixTime) -> Day {
    let date = date(at);
    Day(date.get_full_year(), date.get_month(), date.get_date())
}

/// The time of day, such as `14:05`.
pub fn time(at: UnixTime) -> String {
    TIME.with(|format| write(format.as_ref(), at))
}

/// Date and time at full length.
pub fn full(at: UnixTime) -> String {
    FULL.with(|format| write(format.as_ref(), at))
}

/// The time of day to the second for today, date and time for other days.
pub fn moment(at: UnixTime) -> String {
    let format = if day(at) == day(now()) { &SECOND } else { &MOMENT };
    format.with(|format| write(format.as_ref(), at))
}

/// The time, in seconds since 1970.
pub fn now_secs() -> u64 {
    now().as_secs()
}

/// The heading over the messages of a day.
pub fn heading(at: UnixTime) -> String {
    const DAY_MILLIS: u64 = 24 * 60 * 60 * 1000;
    let now = now();
    let then = day(at);
    if then == day(now) {
        strings::TODAY.into()
    } else if then == day(UnixTime::from_millis(now.as_millis().saturating_sub(DAY_MILLIS))) {
        strings::YESTERDAY.into()
    } else {
        DAY.with(|format| write(format.as_ref(), at))
    }
}

/// The time of day for today, the date for other days.
pub fn short(at: UnixTime) -> String {
    if day(at) == day(now()) { time(at) } else { SHORT_DAY.with(|format| write(format.as_ref(), at)) }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast saturates, and so it should")]
fn now() -> UnixTime {
    UnixTime::from_millis(Date::now() as u64)
}

#[expect(clippy::cast_precision_loss, reason = "the calendar ends long before the mantissa")]
fn date(at: UnixTime) -> Date {
    Date::new(&JsValue::from_f64(at.as_millis() as f64))
}

fn formatter(options: &[(&str, &str)]) -> Option<Function> {
    let object = Object::new();
    for (key, value) in options {
        Reflect::set(&object, &(*key).into(), &(*value).into()).ok()?;
    }
    Some(Intl::DateTimeFormat::new(&Array::new(), &object).format())
}

fn write(format: Option<&Function>, at: UnixTime) -> String {
    let written = format.and_then(|format| format.call1(&JsValue::UNDEFINED, &date(at)).ok());
    written.and_then(|written| written.as_string()).unwrap_or_default()
}
