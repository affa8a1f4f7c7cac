//! The nearest of the 16 colours of a terminal.
//!
//! The page has its own shades of these 16 colours, which are legible in the light and in the dark theme. A log chooses
//! the hue only.

/// Colours of xterm, as red, green and blue.
const PALETTE: [[u8; 3]; 16] = [
    [0, 0, 0],
    [205, 0, 0],
    [0, 205, 0],
    [205, 205, 0],
    [0, 0, 238],
    [205, 0, 205],
    [0, 205, 205],
    [229, 229, 229],
    [127, 127, 127],
    [255, 0, 0],
    [0, 255, 0],
    [255, 255, 0],
    [92, 92, 255],
    [255, 0, 255],
    [0, 255, 255],
    [255, 255, 255],
];

/// Levels of red, green and blue in the cube of 6 × 6 × 6 colours.
const LEVELS: [u8; 6] = [0, 95, 135, 175, 215, 255];

/// Returns the nearest of the 16 colours to one of the 256: 16 named ones, the cube, and 24 shades of grey.
pub(super) fn of_256(index: u8) -> u8 {
    match index {
        0..=15 => index,
        16..=231 => {
            let place = usize::from(index - 16);
            let level = |place: usize| LEVELS[place % LEVELS.len()];
            nearest([level(place / 36), level(place / 6), level(place)])
        }
        232..=255 => nearest([8 + (index - 232) * 10; 3]),
    }
}

/// Returns the nearest of the 16 colours. A colour without a hue becomes one of the four shades of grey, and every other
/// colour keeps a hue: pale orange is yellow rather than white.
pub(super) fn nearest(colour: [u8; 3]) -> u8 {
    let [red, green, blue] = colour;
    let has_hue = |[red, green, blue]: [u8; 3]| red.max(green).max(blue) - red.min(green).min(blue) > 24;
    let distance = |other: [u8; 3]| {
        let difference = |one: u8, other: u8| i64::from(one) - i64::from(other);
        let mean = (i64::from(red) + i64::from(other[0])) / 2;
        let (red, green, blue) = (difference(red, other[0]), difference(green, other[1]), difference(blue, other[2]));
        // Weights that approximate how different an eye sees two colours.
        (512 + mean) * red * red + 1024 * green * green + (767 - mean) * blue * blue
    };
    let candidates = (0_u8..).zip(PALETTE).filter(|(_, other)| has_hue(*other) == has_hue(colour));
    candidates.min_by_key(|(_, other)| distance(*other)).map_or(7, |(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_has_a_nearest_one_of_16() {
        for (index, colour) in (0..).zip(PALETTE) {
            assert_eq!((nearest(colour), of_256(index)), (index, index));
        }
        let cases = [
            (16, 0),
            (196, 9),
            (46, 10),
            (21, 4),
            (208, 3),
            (231, 15),
            (232, 0),
            (244, 8),
            (255, 7),
            (201, 13),
            (99, 12),
        ];
        for (index, expected) in cases {
            assert_eq!(of_256(index), expected, "{index}");
        }
        assert_eq!([nearest([255, 99, 71]), nearest([30, 30, 35]), nearest([0, 128, 128])], [9, 0, 6]);
    }
}
