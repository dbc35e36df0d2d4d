//! Symbols of the dynamic loader, found in its own tables.
//!
//! For what a C library has from some version on. A weak reference would make the linker demand that
//! version of every system the program is to start on, and `dlsym` allocates where it finds nothing.
//! The tables are those of the ELF specification, with the hash table of GNU, `elf(5)`.

use core::ffi::CStr;

use libc::{Elf64_Ehdr, Elf64_Phdr, Elf64_Sym};

/// Entries of the dynamic section that say where the tables are, and the one that ends it.
const DT_NULL: u64 = 0;
const DT_STRTAB: u64 = 5;
const DT_SYMTAB: u64 = 6;
const DT_GNU_HASH: u64 = 0x6fff_fef5;

/// `Elf64_Dyn`.
#[repr(C)]
struct Entry {
    tag: u64,
    value: u64,
}

/// The start of a GNU hash table; the filter, the buckets and the chains follow.
#[repr(C)]
struct HashHeader {
    buckets: u32,
    /// The first symbol that the table tells of.
    first: u32,
    filter_words: u32,
    filter_shift: u32,
}

/// The loader's tables, mapped for as long as the process lives.
struct Tables {
    /// Where the loader's address zero lies.
    zero: *const u8,
    names: *const libc::c_char,
    symbols: *const Elf64_Sym,
    hashes: *const HashHeader,
}

/// Where the loader has the object of this name; `None` where it has none, or there is no loader,
/// as in a program linked statically.
pub(crate) fn object<T>(name: &CStr) -> Option<*const T> {
    let symbol = Tables::find()?.look_up(name)?;
    Some(symbol.cast())
}

impl Tables {
    fn find() -> Option<Tables> {
        // SAFETY: a read of what the kernel told the process when it started.
        let base = unsafe { libc::getauxval(libc::AT_BASE) } as usize;
        // The kernel mapped the loader and tells an address, in which there is no pointer to keep.
        let base = core::ptr::with_exposed_provenance::<u8>(base);
        if base.is_null() {
            return None;
        }
        // SAFETY: a loader that started this program begins with these headers, and says in them
        // where its dynamic section is, which ends as the loop does.
        unsafe {
            let header = &*base.cast::<Elf64_Ehdr>();
            let segments = base.add(header.e_phoff as usize).cast::<Elf64_Phdr>();
            let segments = core::slice::from_raw_parts(segments, header.e_phnum.into());
            let first = |kind| segments.iter().find(move |segment| segment.p_type == kind);
            let zero = base.wrapping_sub(first(libc::PT_LOAD)?.p_vaddr as usize);
            let dynamic = zero.wrapping_add(first(libc::PT_DYNAMIC)?.p_vaddr as usize);
            Tables::of_section(base, zero, dynamic.cast())
        }
    }

    /// # Safety
    ///
    /// `entry` is the first of the dynamic section of what is mapped from `base` on, with its address
    /// zero at `zero`.
    unsafe fn of_section(
        base: *const u8,
        zero: *const u8,
        mut entry: *const Entry,
    ) -> Option<Tables> {
        let (mut names, mut symbols, mut hashes) = (None, None, None);
        // SAFETY: the caller's promise: an entry of tag zero ends the section.
        unsafe {
            while (*entry).tag != DT_NULL {
                // The loader may have made addresses of what its own section says.
                let value = (*entry).value as usize;
                let is_address = value >= base.addr();
                let place = zero.wrapping_add(if is_address { value - zero.addr() } else { value });
                match (*entry).tag {
                    DT_STRTAB => names = Some(place.cast()),
                    DT_SYMTAB => symbols = Some(place.cast()),
                    DT_GNU_HASH => hashes = Some(place.cast()),
                    _ => {}
                }
                entry = entry.add(1);
            }
        }
        Some(Tables { zero, names: names?, symbols: symbols?, hashes: hashes? })
    }

    fn look_up(&self, name: &CStr) -> Option<*const u8> {
        let hash = hash(name);
        // SAFETY: the tables are as the loader's linker made them: the filter, as many buckets as the
        // header says, then a chain entry for each symbol from the first on, of which an odd one
        // ends its bucket. What symbols say of names and places lies in the loader.
        unsafe {
            let header = &*self.hashes;
            let filter = self.hashes.add(1).cast::<u64>();
            let buckets = filter.add(header.filter_words as usize).cast::<u32>();
            let chains = buckets.add(header.buckets as usize);
            let mut index = *buckets.add(hash.checked_rem(header.buckets)? as usize);
            while index >= header.first {
                let entry = *chains.add((index - header.first) as usize);
                let symbol = &*self.symbols.add(index as usize);
                let is_same = entry | 1 == hash | 1
                    && CStr::from_ptr(self.names.add(symbol.st_name as usize)) == name;
                if is_same && symbol.st_shndx != 0 {
                    return Some(self.zero.wrapping_add(symbol.st_value as usize));
                }
                if entry & 1 == 1 {
                    break;
                }
                index += 1;
            }
        }
        None
    }
}

/// The hash of GNU's tables: Bernstein's, times 33.
fn hash(name: &CStr) -> u32 {
    let step = |hash: u32, byte: &u8| hash.wrapping_mul(33).wrapping_add(u32::from(*byte));
    name.to_bytes().iter().fold(5381, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the C library itself finds.
    fn by_dlsym(name: &CStr) -> *const u8 {
        // SAFETY: a look at the tables of what is loaded.
        unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) }.cast_const().cast()
    }

    #[test]
    fn finds_what_the_c_library_finds() {
        for name in [c"_r_debug", c"__libc_stack_end", c"__libc_enable_secure"] {
            assert_eq!(object::<u8>(name), Some(by_dlsym(name)), "{name:?}");
        }
        let offset = by_dlsym(c"__rseq_offset");
        assert_eq!(object(c"__rseq_offset").unwrap_or(core::ptr::null()), offset);
    }

    #[test]
    fn finds_nothing_by_names_that_are_not_there() {
        for name in [c"", c"__rseq_offse", c"__rseq_offset_", c"capmalloc"] {
            assert_eq!(object::<u8>(name), None, "{name:?}");
        }
    }

    /// Values of the specification's authors, for names that every C library has.
    #[test]
    fn hashes_as_linkers_do() {
        assert_eq!(hash(c""), 0x0000_1505);
        assert_eq!(hash(c"printf"), 0x156b_2bb8);
        assert_eq!(hash(c"exit"), 0x7c96_7e3f);
    }
}
