//! Start-up code: rows by instructions. The bytes are those of files that gcc 12, gcc 6 and musl made.

use super::super::build;
use super::super::trace::{AARCH64, Instructions, Traced, X86_64, trace};
use super::CALLED;
use super::elf::{self, Elf, TEXT, eh_frame};
use profiler_common::unwind::rule::{Rule, cfa, fp, ra};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

const PUSHED: Rule = Rule { cfa_offset: 16, fp: fp::AT_CFA, fp_offset: -16, ..CALLED };
const FRAMED: Rule = Rule { cfa: cfa::FP, ..PUSHED };
const GROWN: Rule = Rule { cfa_offset: 16, ..CALLED };

const DEREGISTER: &str = "488d3d912f0000 488d058a2f0000 4839f8 7415 488b052e2f0000 4885c0 7409 ffe0 0f1f8000000000 c3";
const REGISTER: &str = "488d3d612f0000 488d355a2f0000 4829fe 4889f0 48c1ee3f 48c1f803 4801c6 48d1fe 7414 488b05fd2e0000 \
                        4885c0 7408 ffe0 660f1f440000 c3";
const DTORS: &str = "f30f1efa 803d1d2f000000 752b 55 48833dda2e000000 4889e5 740c 488b3dfe2e0000 e829ffffff e864ffffff \
                     c605f52e000001 5d c3 0f1f00 c3";
const FRAME_DUMMY: &str = "f30f1efa e977ffffff";
const STATIC_DTORS: &str = "f30f1efa 803d954c0a0000 752b 55 4889e5 e87affffff b8307a4700 4885c0 740a bfd04c4900 e826640700 c6056f4c0a0001 5d c3 \
     0f1f440000 c3";
const STATIC_FRAME_DUMMY: &str = "f30f1efa b850764700 4885c0 7422 55 bea0624a00 bfd04c4900 4889e5 e80f600700 5d e959ffffff \
                                  660f1f840000000000 e94bffffff";
const INIT: &str = "4883ec08 488b05c52f0000 4885c0 7402 ffd0 4883c408 c3";
const FINI: &str = "4883ec08 4883c408 c3";
/// gcc 6, with a jump back.
const OLD_FRAME_DUMMY: &str = "488d3dd9392000 48833f00 750b e95effffff 660f1f440000 488b05b93b2000 4885c0 74e9 55 4889e5 \
                               ffd0 5d e940ffffff";

/// Code, its rows, and where it goes.
type Case<'a> = (&'a str, &'a [(u64, Rule)], &'a [i64]);

fn bytes(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b' ').collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn traced(instructions: &Instructions, code: &[u8]) -> (Vec<(u64, Rule)>, Vec<i64>) {
    let Traced { length, rows, targets } = trace(instructions, code).unwrap();
    assert_eq!(length, code.len() as u64);
    (rows, targets)
}

#[test]
fn functions_of_crtbegin_and_crti_have_rows() {
    let cases: &[Case<'_>] = &[
        (DEREGISTER, &[(0, CALLED)], &[]),
        (REGISTER, &[(0, CALLED)], &[]),
        (DTORS, &[(0, CALLED), (14, PUSHED), (25, FRAMED), (52, CALLED)], &[-0xb0, -0x70]),
        (FRAME_DUMMY, &[(0, CALLED)], &[-0x80]),
        (STATIC_DTORS, &[(0, CALLED), (14, PUSHED), (17, FRAMED), (50, CALLED)], &[-0x70, 0x7_6450]),
        (STATIC_FRAME_DUMMY, &[(0, CALLED), (15, PUSHED), (28, FRAMED), (34, CALLED)], &[0x7_6030, -0x80, -0x80]),
        (INIT, &[(0, CALLED), (4, GROWN), (22, CALLED)], &[]),
        (FINI, &[(0, CALLED), (4, GROWN), (8, CALLED)], &[]),
        ("50 58 c3", &[(0, CALLED), (1, GROWN), (2, CALLED)], &[]),
        (OLD_FRAME_DUMMY, &[(0, CALLED), (37, PUSHED), (40, FRAMED), (43, CALLED)], &[-0x90, -0x90]),
    ];
    for (code, rows, targets) in cases {
        assert_eq!(traced(&X86_64, &bytes(code)), (rows.to_vec(), targets.to_vec()), "{code}");
    }
}

#[test]
fn what_is_not_known_whole_has_no_rows() {
    let cases = [
        // Another instruction, a stack that is not as it was, a frame pointer that was not saved.
        "f30f1efa 0fa2 c3",
        "55 c3",
        "55 4889e5 e900010000",
        "4889e5 c3",
        "5d c3",
        "58 c3",
        "55 58 c3",
        "55 50 5d 58 c3",
        "55 55 5d 5d c3",
        "4883ec0c 4883c40c c3",
        // Branches that do not agree, into an instruction, and out of it.
        "7401 55 5d c3",
        "7401 4885c0 c3",
        "7480 c3",
        "7405 c3",
        // A jump that does not leave, and no end.
        "ebfe",
        "7402 eb00 c3",
        "90",
        "e8000000",
        "",
        // Writes %rsp, %rbp, or the stack.
        "4801c4 c3",
        "4889c5 c3",
        "488b2d00000000 c3",
        "bc00000000 c3",
        "48c7c500000000 c3",
        "4883e4f0 c3",
    ];
    for code in cases {
        assert_eq!(trace(&X86_64, &bytes(code)), None, "{code}");
    }
}

#[test]
fn functions_of_aarch64_have_rows() {
    let leaf = Rule { cfa: cfa::SP, ra: ra::LINK, ..Rule::NONE };
    let pair = |bytes| Rule {
        cfa: cfa::SP,
        cfa_offset: bytes,
        fp: fp::AT_CFA,
        fp_offset: -bytes,
        ra: ra::ABOVE_FP,
        ..Rule::NONE
    };
    // __do_global_dtors_aux
    let code = words(&[
        0xa9be_7bfd,
        0x9100_03fd,
        0xf900_0bf3,
        0x9000_0013,
        0x3940_0260,
        0x3500_0140,
        0x9000_0000,
        0xf940_0000,
        0xb400_0080,
        0x9000_0000,
        0xf940_0000,
        0x9400_0000,
        0x97ff_ffd8,
        0x5280_0020,
        0x3900_0260,
        0xf940_0bf3,
        0xa8c2_7bfd,
        0xd65f_03c0,
    ]);
    assert_eq!(traced(&AARCH64, &code), (vec![(0, leaf), (4, pair(32)), (68, leaf)], vec![44, -112]));
    // _init, with `bti c` and without.
    let code = words(&[0xd503_245f, 0xa9bf_7bfd, 0x9100_03fd, 0x9400_0010, 0xa8c1_7bfd, 0xd65f_03c0]);
    assert_eq!(traced(&AARCH64, &code), (vec![(0, leaf), (8, pair(16)), (20, leaf)], vec![76]));
    // call_weak_fn
    let code = words(&[0xe000_00f0_u32.swap_bytes(), 0xf947_ec00, 0xb400_0040, 0x17ff_fff9, 0xd65f_03c0]);
    assert_eq!(traced(&AARCH64, &code), (vec![(0, leaf)], vec![-16]));
    let unknown: [&[u32]; 6] = [
        // A call without the link register saved, one that is left, other bytes, x30, x29 and sp written.
        &[0x9400_0010, 0xd65f_03c0],
        &[0xa9bf_7bfd, 0xd65f_03c0],
        &[0xa9bf_7bfd, 0xa8c2_7bfd, 0xd65f_03c0],
        &[0xf940_001e, 0xd65f_03c0],
        &[0x9100_001d, 0xd65f_03c0],
        &[0x9100_401f, 0xd65f_03c0],
    ];
    for code in unknown {
        assert_eq!(trace(&AARCH64, &words(code)), None, "{code:x?}");
    }
}

#[test]
fn random_instructions_do_no_harm() {
    let mut random = StdRng::seed_from_u64(13);
    let (dtors, pieces) = (bytes(DTORS), [INIT, OLD_FRAME_DUMMY, STATIC_FRAME_DUMMY, REGISTER].map(bytes).concat());
    for _ in 0..20_000 {
        let mut code = [&dtors[..], &pieces].concat();
        for _ in 0..random.random_range(1..4) {
            let at = random.random_range(0..code.len());
            code[at] = random.random();
        }
        let from = random.random_range(0..code.len());
        for instructions in [&X86_64, &AARCH64] {
            if let Some(traced) = trace(instructions, &code[from..]) {
                assert!(traced.rows.len() as u64 <= traced.length && traced.length <= code.len() as u64);
                assert!(traced.rows.is_sorted_by_key(|(at, _)| *at));
            }
        }
    }
}

#[test]
fn flipped_bytes_of_code_and_headers_do_no_harm() {
    // A frame in %rbx that calls __do_global_dtors_aux, as if that saved it.
    let mut text = crtbegin();
    text.extend([0xe8, 0x5b, 0xff, 0xff, 0xff, 0xe9, 0, 0, 0, 0, 0xc3]);
    let rows = [&[0x0c, 3, 16][..], &[0x4e, 0x83, 2]].concat();
    let functions: [elf::Function<'_>; 2] = [(TEXT + 0x110, 11, &rows[..3]), (TEXT + 0x70, 0x39, &rows[3..])];
    let frames = eh_frame(&elf::X86_64, &functions);
    let elf = Elf { eh_frame: Some(frames), text, fini_array: Some((TEXT + 0x100, 16)), ..Elf::default() };
    assert_eq!(elf.table().unwrap().rule(TEXT + 0x30), CALLED);
    let whole = elf.bytes();
    let mut random = StdRng::seed_from_u64(17);
    for _ in 0..2000 {
        let mut bytes = whole.clone();
        for _ in 0..random.random_range(1..20) {
            let at = random.random_range(0..0x1600_usize);
            // Headers and frames, or instructions.
            let at = if at < 0x1400 { at } else { whole.len() - 1 - (at - 0x1400) % 0x120 };
            bytes[at] = random.random();
        }
        if let Ok(table) = build(&elf::file(&bytes)) {
            assert!(table.bytes() < 100 * bytes.len());
        }
    }
}

/// As crtbegin.o has it, and `.fini_array` with `__do_global_dtors_aux` and `frame_dummy` behind it.
fn crtbegin() -> Vec<u8> {
    let mut text = Vec::new();
    for function in [DEREGISTER, REGISTER, DTORS, FRAME_DUMMY] {
        text.extend(bytes(function));
        text.resize(text.len().next_multiple_of(16), 0x90);
    }
    text.resize(0x100, 0xcc);
    text.extend([TEXT + 0x70, TEXT + 0xb0].map(u64::to_le_bytes).concat());
    text
}

#[test]
fn the_loader_and_calls_lead_to_functions() {
    let frames = eh_frame(&elf::X86_64, &[(TEXT - 0x1000, 0x10, &[]), (TEXT + 0xc0, 0x10, &[0x0e, 64])]);
    let elf = Elf { eh_frame: Some(frames), text: crtbegin(), fini_array: Some((TEXT + 0x100, 16)), ..Elf::default() };
    let table = elf.table().unwrap();
    let expected = [
        (0, CALLED),
        (0x28, CALLED),
        (0x30, CALLED),
        (0x68, CALLED),
        (0x70, CALLED),
        (0x7d, CALLED),
        (0x7e, PUSHED),
        (0x88, PUSHED),
        (0x89, FRAMED),
        (0xa3, FRAMED),
        (0xa4, CALLED),
        (0xa8, CALLED),
        (0xb0, CALLED),
        (0xb8, CALLED),
        (0xc0, Rule { cfa_offset: 64, ..CALLED }),
        (0xd0, Rule::NONE),
    ];
    for (distance, rule) in expected {
        assert_eq!(table.rule(TEXT + distance), rule, "{distance:#x}");
    }
    assert_eq!(table.rule(TEXT - 1), Rule::NONE);
    // Without the array, or without section headers and a dynamic section, its frame pointer is not known.
    for elf in [Elf { fini_array: None, ..elf.clone() }, Elf { sections: false, ..elf }] {
        let table = elf.table().unwrap();
        assert_eq!([0x80, 0x89].map(|distance| table.rule(TEXT + distance)), [PUSHED; 2]);
    }
}

#[test]
fn what_entries_say_counts() {
    let odd = Rule { cfa_offset: 512, ..CALLED };
    let frames = eh_frame(&elf::X86_64, &[(TEXT + 0x70, 0x39, &[0x0e, 0x80, 0x04])]);
    let elf = Elf { eh_frame: Some(frames), text: crtbegin(), fini_array: Some((TEXT + 0x100, 16)), ..Elf::default() };
    let rules = [0x30, 0x70, 0xa0, 0xb0].map(|distance| elf.table().unwrap().rule(TEXT + distance));
    assert_eq!(rules, [CALLED, odd, odd, CALLED]);
    // An entry that begins within a function: the function is not what it seems.
    let frames = eh_frame(&elf::X86_64, &[(TEXT + 0xa0, 9, &[0x0e, 0x80, 0x04])]);
    let elf = Elf { eh_frame: Some(frames), ..elf };
    let rules = [0, 0x30, 0x70, 0xa0, 0xb0].map(|distance| elf.table().unwrap().rule(TEXT + distance));
    assert_eq!(rules, [Rule::NONE, CALLED, Rule::NONE, odd, CALLED]);
}
