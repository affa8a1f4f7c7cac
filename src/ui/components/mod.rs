//! Parts of pages: pure functions from values to markup.
//!
//! Texts pass through [`neutral`](crate::ui::text::neutral), and links through
//! [`local_link`](crate::ui::text::local_link). The classes are those of `console.css`.

mod content;
mod forms;
mod navigation;
pub mod state;
mod tables;

pub use self::content::{
    Level, Tile, command, definitions, empty, figure, live, notice, progress, request, section, tiles,
};
pub use self::forms::{Choice, Filter, chips, filter_form, hidden, search_field, select_field, text_field};
pub use self::navigation::{Crumb, Tab, breadcrumb, navigation, skip_link, tabs};
pub use self::state::{State, badge, foreign_state, state, state_with};
pub use self::tables::{Header, Order, Pager, header, pager, table, table_region};
