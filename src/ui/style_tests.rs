//! Contrast of the colours of the stylesheet, in the light and in the dark theme.

use std::collections::BTreeMap;

/// Stylesheet of the console.
const STYLE: &str = include_str!("assets/console.css");
/// Least contrast of texts (WCAG 2.2, 1.4.3).
const TEXT: f64 = 4.5;
/// Least contrast of graphics and of the frames of controls (WCAG 2.2, 1.4.11).
const GRAPHICS: f64 = 3.0;
/// Names of states.
const STATES: [&str; 7] = ["ok", "bad", "warn", "run", "wait", "idle", "due"];

type Theme = BTreeMap<String, [u8; 3]>;

/// Returns the colours that a block of the stylesheet defines.
fn colours(block: &str) -> Theme {
    let properties =
        block.lines().filter_map(|line| line.trim().strip_prefix("--")?.strip_suffix(';')?.split_once(": #"));
    let byte = |hex: &str, at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    properties.map(|(name, hex)| (name.to_owned(), [byte(hex, 0), byte(hex, 2), byte(hex, 4)])).collect()
}

/// Returns the light and the dark theme.
fn themes() -> [(&'static str, Theme); 2] {
    let (light, rest) = STYLE.split_once("@media (prefers-color-scheme: dark)").unwrap();
    let (dark, _) = rest.split_once("\n}\n").unwrap();
    [("light", colours(light)), ("dark", colours(dark))]
}

fn luminance(colour: [u8; 3]) -> f64 {
    let linear = |value: u8| {
        let share = f64::from(value) / 255.0;
        if share <= 0.040_45 { share / 12.92 } else { ((share + 0.055) / 1.055).powf(2.4) }
    };
    let [red, green, blue] = colour.map(linear);
    0.2126 * red + 0.7152 * green + 0.0722 * blue
}

fn contrast(one: [u8; 3], other: [u8; 3]) -> f64 {
    let (one, other) = (luminance(one), luminance(other));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

/// Returns the pairs of foreground and background that the stylesheet combines, with their least contrast.
fn pairs() -> Vec<(String, String, f64)> {
    let mut pairs = Vec::new();
    let mut add = |front: &str, back: &str, least: f64| pairs.push((front.to_owned(), back.to_owned(), least));
    for back in ["page", "surface", "raised", "hover", "log"] {
        for front in ["text", "muted", "link"] {
            add(front, back, TEXT);
        }
        for front in ["edge", "focus"] {
            add(front, back, GRAPHICS);
        }
    }
    add("on-accent", "accent", TEXT);
    add("accent", "surface", GRAPHICS);
    for state in STATES {
        let (fill, tint) = (format!("{state}-fill"), format!("{state}-tint"));
        for back in ["page", "surface", "hover", &tint] {
            add(state, back, TEXT);
        }
        for back in ["surface", "hover"] {
            add(&fill, back, GRAPHICS);
        }
        add("text", &tint, TEXT);
        add("link", &tint, TEXT);
    }
    add("log-text", "log", TEXT);
    add("log", "log-text", TEXT);
    for foreground in 0..16 {
        let foreground = format!("a{foreground}");
        for back in ["log".to_owned(), "hover".to_owned()].into_iter().chain((0..8).map(|tint| format!("b{tint}"))) {
            add(&foreground, &back, TEXT);
        }
    }
    for tint in 0..8 {
        add("log-text", &format!("b{tint}"), TEXT);
        add("muted", &format!("b{tint}"), TEXT);
    }
    pairs
}

#[test]
fn colours_have_enough_contrast_in_both_themes() {
    let mut failures = Vec::new();
    for (theme, colours) in themes() {
        for (front, back, least) in pairs() {
            let of = |name: &str| *colours.get(name).unwrap_or_else(|| panic!("{theme}: no colour {name}"));
            let found = contrast(of(&front), of(&back));
            if found < least {
                failures.push(format!("{theme}: --{front} on --{back} has {found:.2}, expected {least}"));
            }
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

#[test]
fn both_themes_define_the_same_colours_and_each_is_used() {
    let [(_, light), (_, dark)] = themes();
    assert_eq!(light.keys().collect::<Vec<_>>(), dark.keys().collect::<Vec<_>>());
    for name in light.keys() {
        assert!(STYLE.contains(&format!("var(--{name})")), "--{name} is not used");
    }
    let uses = STYLE
        .match_indices("var(--")
        .map(|(at, _)| &STYLE[at + 6..])
        .map(|rest| rest.split([')', ',']).next().unwrap());
    for name in uses.filter(|name| !matches!(*name, "c" | "f" | "t" | "g")) {
        assert!(light.contains_key(name), "--{name} is not defined");
    }
}

#[test]
fn contrast_is_that_of_wcag() {
    assert!((contrast([0; 3], [255; 3]) - 21.0).abs() < 0.001);
    assert!((contrast([0x76; 3], [255; 3]) - 4.54).abs() < 0.01);
    assert!((contrast([7; 3], [7; 3]) - 1.0).abs() < 0.001);
}

#[test]
fn stylesheet_loads_nothing_from_elsewhere() {
    assert!(
        !STYLE.contains("@import") && !STYLE.contains("http://")
            || STYLE.matches("http://").count() == STYLE.matches("xmlns='http://www.w3.org/2000/svg'").count()
    );
    for (at, _) in STYLE.match_indices("url(") {
        assert!(STYLE[at..].starts_with("url(\"data:image/svg+xml,"), "{}", &STYLE[at..at + 40]);
    }
    assert_eq!(STYLE.matches('{').count(), STYLE.matches('}').count());
    assert!(STYLE.len() < 48 * 1024, "{} bytes", STYLE.len());
}
