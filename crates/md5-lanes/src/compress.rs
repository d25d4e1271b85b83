//! The compression function of MD5 on four messages at once.
//!
//! One message leaves most of a processor idle, for each of the 64 steps waits for the one before. Here each
//! step does the same to four words that have nothing to do with each other, and is written so that the compiler
//! makes vector instructions of it, the plain ones that every x86-64 and AArch64 processor has.

/// Messages at once: the words of a vector that every processor has.
pub(crate) const LANES: usize = 4;

/// The same word of four messages.
type Words = [u32; LANES];

/// The state of four messages: A of all, B of all, C, D.
pub(crate) type States = [Words; 4];

/// Takes four messages further by as many whole blocks as the shortest of them has.
// Never a part of its caller: there the compiler finds other things to optimise than these vectors.
#[inline(never)]
pub(crate) fn compress(states: &mut States, messages: [&[[u8; 64]]; LANES]) {
    let [one, two, three, four] = messages;
    for (((one, two), three), four) in one.iter().zip(two).zip(three).zip(four) {
        let words = transpose([one, two, three, four]);
        let rounds = rounds(*states, &words);
        for (state, add) in states.iter_mut().zip(rounds) {
            *state = each(|lane| state[lane].wrapping_add(add[lane]));
        }
    }
}

/// The sixteen words of a block, of all messages each.
#[inline(always)]
fn transpose(blocks: [&[u8; 64]; LANES]) -> [Words; 16] {
    std::array::from_fn(|word| {
        each(|lane| {
            let bytes = blocks[lane].as_chunks::<4>().0[word];
            u32::from_le_bytes(bytes)
        })
    })
}

#[inline(always)]
fn each(of: impl Fn(usize) -> u32) -> Words {
    std::array::from_fn(of)
}

/// The steps of a round, written out: in a loop they become no vectors.
macro_rules! round {
    ($mix:ident, $words:ident, $state:ident, [$($turn:literal)*], $word:expr, $shifts:expr, $first:literal) => {
        $(
            let word = &$words[$word($turn)];
            $state = step($state, $mix, word, SINES[$first + $turn], $shifts[$turn % 4]);
        )*
    };
}

#[inline(always)]
fn rounds(mut state: States, words: &[Words; 16]) -> States {
    round!(f, words, state, [0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15], |turn: usize| turn, [7, 12, 17, 22], 0);
    round!(g, words, state, [0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15], |turn: usize| (5 * turn + 1) % 16, [5, 9, 14, 20], 16);
    round!(h, words, state, [0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15], |turn: usize| (3 * turn + 5) % 16, [4, 11, 16, 23], 32);
    round!(i, words, state, [0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15], |turn: usize| (7 * turn) % 16, [6, 10, 15, 21], 48);
    state
}

#[inline(always)]
fn step(
    [a, b, c, d]: States,
    mix: impl Fn(u32, u32, u32) -> u32,
    word: &Words,
    sine: u32,
    shift: u32,
) -> States {
    let next = each(|lane| {
        let mixed = mix(b[lane], c[lane], d[lane]);
        let sum = a[lane].wrapping_add(word[lane]).wrapping_add(sine).wrapping_add(mixed);
        sum.rotate_left(shift).wrapping_add(b[lane])
    });
    [d, next, b, c]
}

#[inline(always)]
fn f(b: u32, c: u32, d: u32) -> u32 {
    ((c ^ d) & b) ^ d
}

#[inline(always)]
fn g(b: u32, c: u32, d: u32) -> u32 {
    ((b ^ c) & d) ^ c
}

#[inline(always)]
fn h(b: u32, c: u32, d: u32) -> u32 {
    b ^ c ^ d
}

#[inline(always)]
fn i(b: u32, c: u32, d: u32) -> u32 {
    c ^ (b | !d)
}

/// The table T of RFC 1321: 2^32 times the sine of 1 to 64.
#[rustfmt::skip]
const SINES: [u32; 64] = [
    0xd76a_a478, 0xe8c7_b756, 0x2420_70db, 0xc1bd_ceee, 0xf57c_0faf, 0x4787_c62a,
    0xa830_4613, 0xfd46_9501, 0x6980_98d8, 0x8b44_f7af, 0xffff_5bb1, 0x895c_d7be,
    0x6b90_1122, 0xfd98_7193, 0xa679_438e, 0x49b4_0821, 0xf61e_2562, 0xc040_b340,
    0x265e_5a51, 0xe9b6_c7aa, 0xd62f_105d, 0x0244_1453, 0xd8a1_e681, 0xe7d3_fbc8,
    0x21e1_cde6, 0xc337_07d6, 0xf4d5_0d87, 0x455a_14ed, 0xa9e3_e905, 0xfcef_a3f8,
    0x676f_02d9, 0x8d2a_4c8a, 0xfffa_3942, 0x8771_f681, 0x6d9d_6122, 0xfde5_380c,
    0xa4be_ea44, 0x4bde_cfa9, 0xf6bb_4b60, 0xbebf_bc70, 0x289b_7ec6, 0xeaa1_27fa,
    0xd4ef_3085, 0x0488_1d05, 0xd9d4_d039, 0xe6db_99e5, 0x1fa2_7cf8, 0xc4ac_5665,
    0xf429_2244, 0x432a_ff97, 0xab94_23a7, 0xfc93_a039, 0x655b_59c3, 0x8f0c_cc92,
    0xffef_f47d, 0x8584_5dd1, 0x6fa8_7e4f, 0xfe2c_e6e0, 0xa301_4314, 0x4e08_11a1,
    0xf753_7e82, 0xbd3a_f235, 0x2ad7_d2bb, 0xeb86_d391,
];
