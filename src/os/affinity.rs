//! The places of processors among those that the process may use.
//!
//! A process may have the processors 0 and 2 alone, or those of one node, which have even numbers.
//! Numbers would then tell little of two threads that run at the same time; places do.

use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicBool, AtomicU64};

use super::errno::ErrnoKept;
use super::thread;

/// Words of a mask for 1024 processors; on machines that have more those go by their numbers.
const WORDS: usize = 16;

/// The processors that the process's first thread might use at the first look.
static MASK: [AtomicU64; WORDS] = [const { AtomicU64::new(0) }; WORDS];

/// Whether somebody has looked.
static IS_KNOWN: AtomicBool = AtomicBool::new(false);

/// The place of the processor that the calling thread runs on, at this moment.
///
/// That is how many with lower numbers the process may use. Behind these come the others, which it
/// may get later or a thread ask for; no two have the same place.
pub(crate) fn current_place() -> usize {
    // Relaxed: who misses a word that another thread stores goes by numbers this once.
    if !IS_KNOWN.load(Relaxed) {
        look();
    }
    place_of(thread::current_cpu(), |word| MASK[word].load(Relaxed))
}

#[cold]
fn look() {
    let _errno = ErrnoKept::new();
    let mut mask = [0_u64; WORDS];
    // Of the first thread, for this one may be pinned to a processor of its own. On a kernel for
    // more processors than the mask has room for the call fails, and writes nothing.
    // SAFETY: `getpid` takes nothing; the other call writes at most so many bytes of the mask,
    // which is aligned as a `cpu_set_t` is.
    unsafe {
        libc::sched_getaffinity(libc::getpid(), size_of_val(&mask), mask.as_mut_ptr().cast())
    };
    for (word, place) in mask.iter().zip(&MASK) {
        place.store(*word, Relaxed);
    }
    IS_KNOWN.store(true, Relaxed);
}

fn place_of(cpu: usize, mask: impl Fn(usize) -> u64) -> usize {
    let count = |words| (0..words).map(|word| mask(word).count_ones() as usize).sum::<usize>();
    let (word, bit) = (cpu / 64, cpu % 64);
    if word >= WORDS {
        return cpu;
    }
    let lower = count(word) + (mask(word) & ((1 << bit) - 1)).count_ones() as usize;
    let may_be_used = mask(word) >> bit & 1 == 1;
    if may_be_used { lower } else { count(WORDS) + cpu - lower }
}

#[cfg(test)]
mod tests {
    use super::{WORDS, current_place, place_of};

    fn places(first_words: &[u64], cpus: &[usize]) -> Vec<usize> {
        let mask = |word: usize| first_words.get(word).copied().unwrap_or(0);
        cpus.iter().map(|cpu| place_of(*cpu, mask)).collect()
    }

    #[test]
    fn processors_are_counted_among_those_that_may_be_used() {
        assert_eq!(places(&[0b1111], &[0, 1, 2, 3]), [0, 1, 2, 3]);
        assert_eq!(places(&[0b1010_0101], &[0, 2, 5, 7]), [0, 1, 2, 3]);
        assert_eq!(places(&[1 << 63, 1, 0, 1 << 63], &[63, 64, 255]), [0, 1, 2]);
        assert_eq!(places(&[u64::MAX; WORDS], &[0, 64, 1023]), [0, 64, 1023]);
    }

    #[test]
    fn others_come_behind_them() {
        assert_eq!(places(&[0b1000], &[3, 0, 1, 2, 4, 5]), [0, 1, 2, 3, 4, 5]);
        assert_eq!(places(&[0b101], &[1, 3, 64, 1024, usize::MAX]), [2, 3, 64, 1024, usize::MAX]);
        assert_eq!(places(&[], &[0, 5, 1023]), [0, 5, 1023], "where the kernel tells nothing");
    }

    #[test]
    fn no_two_have_the_same_place() {
        let all: Vec<usize> = (0..1100).collect();
        for words in [&[0b0101_0110, 0, 0, 7 << 40][..], &[u64::MAX; WORDS], &[0; WORDS]] {
            let mut places = places(words, &all);
            places.sort_unstable();
            assert_eq!(places, all);
        }
    }

    #[test]
    fn the_place_is_one_of_the_processors_that_are_there() {
        // SAFETY: `sysconf` takes only a number and has no preconditions.
        let cpus = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_CONF) };
        assert!(current_place() < usize::try_from(cpus).unwrap());
    }
}
