//! Nothing that lies in a folder vanishes without a word, and nothing in it makes the program hang or count twice.

use crate::pictures::{looked_at, noise, training, training_images, write};
use crate::program::{program, run_line};
use image::{ImageFormat, RgbImage};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

#[test]
fn a_class_of_other_formats_is_a_class() {
    for (extension, format) in [("bmp", ImageFormat::Bmp), ("GIF", ImageFormat::Gif), ("tif", ImageFormat::Tiff)] {
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join("a"), 0..30);
        write(&folder.path().join("b"), 100..130);
        std::fs::create_dir(folder.path().join("c")).unwrap();
        for number in 200..230 {
            // GIFs are in colour.
            let picture = RgbImage::from_fn(28, 28, |x, y| image::Rgb([noise(number).get_pixel(x, y).0[0]; 3]));
            picture.save_with_format(folder.path().join(format!("c/{number}.{extension}")), format).unwrap();
        }
        let told = run_line("run --data {} --dry-run", &[folder.path()]).ok().stderr;
        assert!(told.contains("3 classes: a, b, c"), "{extension}: {told}");
    }
}

#[test]
fn what_is_not_read_is_counted_by_kind_and_named_on_request() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("a"), 0..12);
    write(&folder.path().join("b"), 100..112);
    for number in 0..60 {
        for class in ["a", "b"] {
            std::fs::write(folder.path().join(class).join(format!("IMG {number}.HEIC")), "a photo").unwrap();
        }
    }
    let told = looked_at(folder.path()).ok().stderr;
    assert!(told.contains("120 heic"), "{told}");
    assert!(!told.contains("IMG 59.HEIC"), "{told}");
    let config = training(folder.path(), 1.0);
    let told = run_line("train {} --data {} --dry-run -v", &[&config, folder.path()]).ok().stderr;
    assert!(told.contains("IMG 59.HEIC") && told.contains("a") && told.contains("b"), "{told}");
    // A folder with nothing else is a class that cannot be read.
    write(&folder.path().join("c"), 200..212);
    std::fs::create_dir(folder.path().join("only heic")).unwrap();
    std::fs::write(folder.path().join("only heic/x.heic"), "a photo").unwrap();
    let refused = looked_at(folder.path());
    assert_eq!(refused.code, Some(2), "{refused:#?}");
    assert!(refused.stderr.contains("only heic") && refused.stderr.contains("1 heic"), "{refused:#?}");
}

#[cfg(unix)]
#[test]
fn links_list_no_image_twice() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().unwrap();
    let (data, outside) = (folder.path().join("data"), folder.path().join("outside"));
    for (class, first) in [("a", 0), ("b", 100), ("c", 200)] {
        write(&data.join(class), first..first + 6);
    }
    let plain = training_images(&looked_at(&data).ok());
    // Into itself, to the folder of all classes, to another class, and to nowhere.
    symlink(".", data.join("a/again")).unwrap();
    symlink("..", data.join("a/all")).unwrap();
    symlink("../b", data.join("c/b")).unwrap();
    symlink("nowhere", data.join("b/lost.png")).unwrap();
    let looked = looked_at(&data).ok();
    assert_eq!(training_images(&looked), plain, "{looked:#?}");
    assert!(looked.stderr.contains("4 link"), "{looked:#?}");
    // A folder elsewhere is read, whatever loop is in it.
    write(&outside, 300..306);
    symlink(&outside, outside.join("loop")).unwrap();
    symlink(&outside, data.join("d")).unwrap();
    let told = run_line("run --data {} --dry-run", &[&data]).ok().stderr;
    assert!(told.contains("4 classes: a, b, c, d"), "{told}");
}

/// Runs the program for at most a minute.
fn ends(arguments: &[&str]) -> std::process::Output {
    let mut child = program(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let started = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if started.elapsed() > Duration::from_secs(60) {
            child.kill().unwrap();
            panic!("{arguments:?} hangs");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.wait_with_output().unwrap()
}

#[cfg(unix)]
#[test]
fn a_pipe_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("a"), 0..12);
    write(&folder.path().join("b"), 100..112);
    let pipe = folder.path().join("a/pipe.jpg");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let config = training(folder.path(), 1.0);
    let data = folder.path().to_str().unwrap();
    let looked = ends(&["train", config.to_str().unwrap(), "--data", data, "--dry-run"]);
    let told = String::from_utf8_lossy(&looked.stderr);
    assert!(looked.status.success() && told.contains("1 special file"), "{told}");
    let classified = ends(&["classify", "--model", "mcunet", pipe.to_str().unwrap()]);
    assert_eq!(classified.status.code(), Some(2), "{classified:?}");
}

#[test]
fn classifying_goes_on_after_a_bad_file_and_takes_folders_and_onnx_files() {
    let folder = tempfile::tempdir().unwrap();
    let (photos, onnx) = (folder.path().join("photos"), folder.path().join("net.onnx"));
    let files = write(&photos, 0..3);
    std::fs::write(&files[1], "no image").unwrap();
    std::fs::write(photos.join("notes.txt"), "no image").unwrap();
    let classified = run_line("classify --model mcunet {} {} {}", &[&files[0], &files[1], &files[2]]);
    assert_eq!(classified.code, Some(2), "{classified:#?}");
    let lines = classified.lines();
    assert_eq!(lines.len(), 3, "{classified:#?}");
    let top = |line: &serde_json::Value| line["top"].as_array().unwrap().len();
    assert_eq!(lines.iter().map(top).collect::<Vec<_>>(), [5, 0, 5]);
    assert!(lines[1]["error"].as_str().unwrap().contains("0001.png"), "{classified:#?}");
    assert!(classified.stderr.contains("1 of 3 images"), "{classified:#?}");

    let skipping = run_line("classify --model mcunet --on-corrupt skip {}", &[&photos]).ok();
    assert_eq!(skipping.lines(), lines);
    run_line("export --model mcunet -o {}", &[&onnx]).ok();
    let exported = run_line("classify --model {} --on-corrupt skip {}", &[&onnx, &photos]).ok().lines();
    for (ours, theirs) in lines.iter().zip(&exported) {
        assert_eq!(ours["image"], theirs["image"]);
        if top(ours) > 0 {
            assert_eq!(ours["top"][0]["index"], theirs["top"][0]["index"]);
            let logit = |line: &serde_json::Value| line["top"][0]["logit"].as_f64().unwrap();
            assert!((logit(ours) - logit(theirs)).abs() < 1e-3, "{ours} {theirs}");
        }
    }
}

/// The options of every command that reads images.
#[test]
fn damaged_files_can_be_left_out_by_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("data"), folder.path().join("out"));
    write(&data.join("a"), 0..30);
    write(&data.join("b"), 100..130);
    std::fs::write(data.join("a/0007.png"), "no image").unwrap();
    let config = training(folder.path(), 0.2);
    let refused = run_line("train {} --data {} --out {}", &[&config, &data, &out]);
    assert_eq!(refused.code, Some(2), "{refused:#?}");
    assert!(refused.stderr.contains("0007.png") && refused.stderr.contains("--on-corrupt skip"), "{refused:#?}");
    run_line("train {} --data {} --out {} --on-corrupt skip", &[&config, &data, &out]).ok();
    let model = out.join("supernet.safetensors");
    let output = folder.path().join("output");
    let options = "--calibrate {} --on-corrupt skip -o {}";
    for command in ["extract --model {} --arch min", "export --model {} --arch min --verify"] {
        run_line(&format!("{command} {options}"), &[&model, &data, &output]).ok();
    }
    run_line("eval --model {} --arch min --data {} --on-corrupt skip", &[&model, &data]).ok();
    let pairs = folder.path().join("pairs.jsonl");
    run_line("collect --model {} --data {} --count 1 --on-corrupt skip -o {}", &[&model, &data, &pairs]).ok();
}

#[test]
fn the_choice_about_damaged_files_is_part_of_a_plan() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("a"), 0..30);
    write(&folder.path().join("b"), 100..130);
    std::fs::write(folder.path().join("a/0007.png"), "no image").unwrap();
    let plan = run_line("run --data {} --dry-run --on-corrupt skip", &[folder.path()]).ok().json();
    assert_eq!(plan["config"]["train"]["on_corrupt"], "skip", "{plan}");
}

/// A photo of 201 megapixels, written without ever being in memory as a whole.
fn large_photo(path: &Path) {
    use image::codecs::jpeg::JpegEncoder;
    use image::{GenericImageView, Pixel, Rgb};
    struct Stripes;
    impl GenericImageView for Stripes {
        type Pixel = Rgb<u8>;
        fn dimensions(&self) -> (u32, u32) {
            (16_384, 12_288)
        }
        fn get_pixel(&self, x: u32, y: u32) -> Rgb<u8> {
            *Rgb::from_slice(&[(x >> 6) as u8, (y >> 6) as u8, 90])
        }
    }
    let file = std::io::BufWriter::new(std::fs::File::create(path).unwrap());
    JpegEncoder::new_with_quality(file, 50).encode_image(&Stripes).unwrap();
}

#[test]
fn a_photo_of_200_megapixels_is_read_by_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let photo = folder.path().join("large.jpg");
    large_photo(&photo);
    let line = &run_line("classify --model mcunet {}", &[&photo]).ok().lines()[0];
    assert_eq!(line["top"].as_array().unwrap().len(), 5, "{line}");
}
