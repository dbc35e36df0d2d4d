//! The program of `hello` on the system's allocator, to compare the two.

fn main() -> std::io::Result<()> {
    println!("What is your name?");
    let mut name = String::new();
    std::io::stdin().read_line(&mut name)?;
    println!("Hello, {}!", name.trim());
    Ok(())
}
