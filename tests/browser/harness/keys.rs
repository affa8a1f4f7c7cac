//! Keys of the keyboard.

use anyhow::{Context, Result, bail};
use chromiumoxide::cdp::browser_protocol::input::{DispatchKeyEventParams, DispatchKeyEventType};
use chromiumoxide::keys::get_key_definition;

/// Returns the events of a key press. Modifiers are written before the key: `Shift+Tab`, `Control+Enter`.
pub fn press(key: &str) -> Result<[DispatchKeyEventParams; 2]> {
    // The key "+" itself has no modifiers here.
    let (modifiers, name) = match key.rsplit_once('+').filter(|(_, name)| !name.is_empty()) {
        Some((modifiers, name)) => (modifiers, name),
        None => ("", key),
    };
    let mut bits = 0;
    for modifier in modifiers.split('+').filter(|modifier| !modifier.is_empty()) {
        bits |= match modifier {
            "Alt" => 1,
            "Control" => 2,
            "Meta" => 4,
            "Shift" => 8,
            other => bail!("the modifier {other} is not known"),
        };
    }
    let definition = get_key_definition(name).with_context(|| format!("the key {name} is not known"))?;
    let text = definition.text.or((definition.key.len() == 1).then_some(definition.key));
    let text = text.filter(|_| bits & !8 == 0);
    let event = |kind| {
        let event = DispatchKeyEventParams::builder()
            .r#type(kind)
            .modifiers(bits)
            .key(definition.key)
            .code(definition.code)
            .windows_virtual_key_code(definition.key_code)
            .native_virtual_key_code(definition.key_code);
        event.build().map_err(anyhow::Error::msg)
    };
    let kind = if text.is_some() { DispatchKeyEventType::KeyDown } else { DispatchKeyEventType::RawKeyDown };
    let mut down = event(kind)?;
    down.text = text.map(str::to_owned);
    Ok([down, event(DispatchKeyEventType::KeyUp)?])
}
