//! Measures the product against direct access to the same backend, and prints one table.

use std::process::ExitCode;

use bench::load::{Operation, Target};
use bench::options::Options;
use bench::product::{Behind, Product, ProductOptions};
use bench::store::Store;
use bench::{report, rounds};
use s3_client::{ClientOptions, S3Client};

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::from_args();
    println!("starting (this builds the product's release binary first, if need be)");
    let store = Store::start().await;
    let mut products = Vec::new();
    let mut targets = vec![Target::new("direct", client(store.options("direct")), None)];
    for name in &options.through {
        let product = Product::start(&product_options(name, &store)).await;
        targets.push(Target::new(name, client(product.options()), Some(product.process_id())));
        products.push(product);
    }
    match measure(&options, &targets).await {
        Ok(()) => ExitCode::SUCCESS,
        Err((name, error)) => {
            eprintln!("{name}: {error}");
            for product in &products {
                eprintln!("{}", product.log());
            }
            ExitCode::FAILURE
        }
    }
}

fn client(options: ClientOptions) -> S3Client {
    S3Client::new(options).expect("our own options make sense")
}

fn product_options(name: &str, store: &Store) -> ProductOptions {
    let s3 = |bucket: &str| Behind::S3(Box::new(store.options(bucket)));
    let (backends, factor) = match name {
        "factor 1" => (vec![s3("alone")], 1),
        "factor 2" => (vec![s3("first"), s3("second")], 2),
        _ => (vec![Behind::Directory], 1),
    };
    ProductOptions { backends, factor, ..ProductOptions::default() }
}

async fn measure(options: &Options, targets: &[Target]) -> Result<(), (&'static str, s3_client::Error)> {
    let large = options.cells.iter().any(|cell| cell.operation == Operation::GetLarge);
    for target in targets {
        target.prepare(large).await.map_err(|error| (target.name, error))?;
    }
    let names: Vec<&str> = targets.iter().map(|target| target.name).collect();
    println!(
        "`direct`: the same load on the backend itself. `Go`: the published figures of the Go program.\n\
         CPU and memory are those of the product's process. Medians of {} round(s).\n\n{}",
        options.rounds,
        report::head()
    );
    for &cell in &options.cells {
        let measured = rounds::measure(targets, cell, options.rounds, options.bounds).await?;
        println!("{}", report::rows(&names, &measured));
    }
    Ok(())
}
