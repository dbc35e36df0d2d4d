//! How the library is linked: what every program runs lies together, so that few of its pages are
//! ever resident.

fn main() {
    println!("cargo:rerun-if-changed=layout.ld");
    println!("cargo:rerun-if-changed=build.rs");
    let directory =
        std::env::var("CARGO_MANIFEST_DIR").expect("cargo names the package's directory");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-T,{directory}/layout.ld");
    println!("cargo:rustc-cdylib-link-arg=-Wl,--as-needed");
    // Resolved by the loader at once, so that no first call of `malloc` meets the loader's lock.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,now");
}
