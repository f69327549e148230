//! The page's state, and the only ways to change it.

use std::ops::Deref;
use std::rc::Rc;

use yew::prelude::*;

use crate::driver::{self, Request};
use crate::state::{Action, State};

/// The state as Yew keeps it.
#[derive(Default, PartialEq)]
pub struct Store(Rc<State>);

impl Store {
    /// The state, to be handed down.
    pub fn state(&self) -> Rc<State> {
        Rc::clone(&self.0)
    }
}

impl Deref for Store {
    type Target = State;

    fn deref(&self) -> &State {
        &self.0
    }
}

impl Reducible for Store {
    type Action = Action;

    fn reduce(self: Rc<Self>, action: Action) -> Rc<Self> {
        let mut state = (*self.0).clone();
        state.apply(action);
        Rc::new(Self(Rc::new(state)))
    }
}

/// What a component can do: change the state, and ask the worker for something.
#[derive(Clone)]
pub struct Actions(Rc<Inner>);

struct Inner {
    driver: driver::Handle,
    dispatcher: UseReducerDispatcher<Store>,
}

impl Actions {
    /// The actions of one page.
    pub fn new(driver: driver::Handle, dispatcher: UseReducerDispatcher<Store>) -> Self {
        Self(Rc::new(Inner { driver, dispatcher }))
    }

    /// Changes the state.
    pub fn act(&self, action: Action) {
        self.0.dispatcher.dispatch(action);
    }

    /// Asks the worker for something: a command for the engine, most of the time.
    pub fn ask(&self, request: impl Into<Request>) {
        self.0.driver.ask(&request.into());
    }
}

// A page has only one, so it never causes a component to be redrawn.
impl PartialEq for Actions {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

/// The page's actions.
#[hook]
pub fn use_actions() -> Option<Actions> {
    use_context::<Actions>()
}
