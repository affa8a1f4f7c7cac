//! Tables: headers with links that sort, the region in which a wide table scrolls, and links to other pages.

use maud::{Markup, html};

use crate::ui::text::{local_link, neutral, number};

/// Order of a sorted column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The smallest value is first.
    Ascending,
    /// The largest value is first.
    Descending,
}

/// Header of a column.
#[derive(Clone, Copy, Debug, Default)]
pub struct Header<'a> {
    /// Text of the header.
    pub label: &'a str,
    /// Link that sorts by the column, or reverses the order.
    pub href: Option<&'a str>,
    /// Order, if the table is sorted by this column.
    pub order: Option<Order>,
    /// Whether the column has numbers, which are aligned at the right.
    pub is_number: bool,
}

/// Returns the header of a column.
pub fn header(header: &Header<'_>) -> Markup {
    let order = header.order.map(|order| match order {
        Order::Ascending => "ascending",
        Order::Descending => "descending",
    });
    html! {
        th scope="col" class=[header.is_number.then_some("n")] aria-sort=[order] {
            @match header.href.and_then(local_link) {
                Some(href) => a href=(href) { (header.label) },
                None => (header.label),
            }
        }
    }
}

/// Returns a table. On a narrow screen the rows become cards: a cell needs the attribute `data-l` with the label of its
/// column there, and a cell without the attribute has the full width.
pub fn table(caption: &str, headers: &[Header<'_>], rows: Markup) -> Markup {
    html! {
        table.t {
            caption.vh { (neutral(caption)) }
            thead { tr { @for one in headers { (header(one)) } } }
            tbody { (rows) }
        }
    }
}

/// Returns a region in which content that is too wide scrolls. The keyboard scrolls the region as well.
pub fn table_region(label: &str, content: Markup) -> Markup {
    html! { div.scroll role="region" aria-label=(neutral(label)) tabindex="0" { (content) } }
}

/// Place of a page in a list.
#[derive(Clone, Copy, Debug)]
pub struct Pager<'a> {
    /// Number of the first row of the page, from 1. Zero if there are no rows.
    pub first: u64,
    /// Number of the last row of the page.
    pub last: u64,
    /// Number of all rows.
    pub total: u64,
    /// Plural noun for a row, such as `Jobs`.
    pub noun: &'a str,
    /// Link to the previous page.
    pub previous: Option<&'a str>,
    /// Link to the next page.
    pub next: Option<&'a str>,
}

/// Returns the place of the page and links to its neighbours.
pub fn pager(pager: &Pager<'_>) -> Markup {
    let Pager { first, last, total, noun, previous, next } = *pager;
    let link = |label: &str, relation: &str, href: Option<&str>| {
        html! {
            @match href.and_then(local_link) {
                Some(href) => a.button rel=(relation) href=(href) { (label) },
                None => span.button aria-disabled="true" { (label) },
            }
        }
    };
    html! {
        nav.pager aria-label="Pages" {
            p {
                @if total == 0 { "No " (noun) }
                @else if first == 1 && last == total { (number(total)) " " (noun) }
                @else { b { (number(first)) "–" (number(last)) } " of " (number(total)) " " (noun) }
            }
            @if previous.is_some() || next.is_some() {
                (link("Previous", "prev", previous)) (link("Next", "next", next))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_has_a_link_and_an_order() {
        let sorted =
            Header { label: "Age", href: Some("/jobs?sort=age"), order: Some(Order::Descending), is_number: true };
        assert_eq!(
            header(&sorted).into_string(),
            "<th scope=\"col\" class=\"n\" aria-sort=\"descending\"><a href=\"/jobs?sort=age\">Age</a></th>"
        );
        assert_eq!(
            header(&Header { label: "Cause", ..Header::default() }).into_string(),
            "<th scope=\"col\">Cause</th>"
        );
    }

    #[test]
    fn pager_links_to_the_neighbours() {
        let middle =
            Pager { first: 101, last: 200, total: 50_000, noun: "Jobs", previous: Some("/jobs?page=1"), next: None };
        let text = pager(&middle).into_string();
        assert!(text.contains("<b>101–200</b> of 50,000 Jobs"), "{text}");
        assert!(
            text.contains("rel=\"prev\" href=\"/jobs?page=1\"")
                && text.contains("<span class=\"button\" aria-disabled=\"true\">Next"),
            "{text}"
        );
        let all = Pager { first: 1, last: 3, total: 3, previous: None, ..middle };
        assert_eq!(pager(&all).into_string(), "<nav class=\"pager\" aria-label=\"Pages\"><p>3 Jobs</p></nav>");
        assert!(pager(&Pager { first: 0, last: 0, total: 0, ..all }).into_string().contains("No Jobs"));
    }
}
