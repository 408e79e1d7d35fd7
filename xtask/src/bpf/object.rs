//! The last step of an object: DWARF out, stamp in. BTF, symbols and the relocations of code stay.

use anyhow::{Context, Result};
use object::build::elf::{Builder, SectionData};
use object::{Object, ObjectSection, elf};

/// Section that holds the stamp.
const STAMP: &str = ".profiler.source";

/// Removes debug information and adds the stamp.
pub(crate) fn finish(linked: &[u8], stamp: &str) -> Result<Vec<u8>> {
    let mut builder = Builder::read(linked).context("cannot read the linked object")?;
    for section in &mut builder.sections {
        section.delete = is_debug(&section.name);
    }
    builder.delete_orphans();
    let section = builder.sections.add();
    section.name = STAMP.into();
    section.sh_type = elf::SHT_PROGBITS;
    section.sh_addralign = 1;
    section.data = SectionData::Data(stamp.as_bytes().to_vec().into());
    // The linker keeps the names of sections and of symbols in one table; the writer wants two.
    if !builder.sections.iter().any(|section| matches!(section.data, SectionData::SectionString)) {
        let section = builder.sections.add();
        section.name = b".shstrtab"[..].into();
        section.sh_type = elf::SHT_STRTAB;
        section.sh_addralign = 1;
        section.data = SectionData::SectionString;
    }
    let mut bytes = Vec::new();
    builder.write(&mut bytes).context("cannot write the object")?;
    Ok(bytes)
}

/// BTF's own relocations serve linkers; loaders read BTF by its string and type ids.
fn is_debug(name: &[u8]) -> bool {
    [&b".debug_"[..], b".rel.debug_", b".rel.BTF"].iter().any(|prefix| name.starts_with(prefix))
}

/// The stamp of a finished object.
pub(crate) fn stamp(bytes: &[u8]) -> Result<String> {
    let file = object::File::parse(bytes).context("not an object")?;
    let section = file.section_by_name(STAMP).with_context(|| format!("no section {STAMP}"))?;
    Ok(String::from_utf8_lossy(section.data()?).into_owned())
}
