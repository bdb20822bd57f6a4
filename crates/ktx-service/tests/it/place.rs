//! Where daemons listen, wherever the runtime root lies.

use std::os::unix::fs::PermissionsExt;

use fs_err as fs;
use ktx_service::{Daemons, ServiceError};

use crate::support::{Unheard, World, names};

/// The daemons of a root whose path is too long for a socket.
fn far_away(world: &World) -> Daemons {
    Daemons {
        directory: world.path(&format!("{}/daemons", "long ".repeat(30))),
        ..world.daemons()
    }
}

#[test]
fn listens_in_a_private_directory_if_the_root_is_too_long() {
    let mut world = World::new();
    let short = world.path("r");
    fs::create_dir(&short).unwrap();
    world
        .environment
        .set("XDG_RUNTIME_DIR", short.to_str().unwrap());
    let mut starter = world.starter();
    starter.daemons = far_away(&world);
    let daemon = world.start_with(&starter).unwrap();
    let socket = daemon.daemon.state.endpoint.socket_path().unwrap();
    let directory = socket.parent().unwrap();
    assert_eq!(directory.parent(), Some(short.as_path()));
    let mode = fs::metadata(directory).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    assert_eq!(names(directory).len(), 1);

    let mut stopper = world.stopper();
    stopper.daemons = far_away(&world);
    assert_eq!(ktx_service::stop_all(&stopper).unwrap().len(), 1);
    assert!(names(&short).is_empty());
}

#[test]
fn goes_on_to_the_next_directory_if_one_cannot_be_used() {
    let mut world = World::new();
    let long = world.path(&"x".repeat(100));
    fs::create_dir(&long).unwrap();
    world
        .environment
        .set("XDG_RUNTIME_DIR", long.to_str().unwrap());
    let mut starter = world.starter();
    starter.daemons = far_away(&world);
    let daemon = world.start_with(&starter).unwrap();
    let socket = daemon.daemon.state.endpoint.socket_path().unwrap();
    assert!(
        socket.starts_with(world.path("temporary")),
        "{}",
        socket.display()
    );
}

#[test]
fn does_not_listen_where_others_could() {
    let mut world = World::with_fake("exit 1");
    let shared = world.path("shared");
    fs::create_dir(&shared).unwrap();
    for name in ["XDG_RUNTIME_DIR", "TMPDIR"] {
        world.environment.set(name, shared.to_str().unwrap());
    }
    let mut starter = world.starter();
    starter.daemons = far_away(&world);
    starter.dialer = Box::new(Unheard);
    // The name of the private directory is known once it was made.
    let error = world.start_with(&starter).unwrap_err();
    assert!(matches!(error, ServiceError::Start { .. }));
    let private = shared.join(&names(&shared)[0]);
    fs::remove_dir(&private).unwrap();
    fs::write(&private, "in the way").unwrap();
    let error = world.start_with(&starter).unwrap_err();
    // The last resort is the system's own directory for everybody.
    assert!(matches!(error, ServiceError::Start { .. }));
    let last = std::path::Path::new("/tmp").join(private.file_name().unwrap());
    fs::remove_dir(&last).unwrap();
    std::os::unix::fs::symlink(&shared, &last).unwrap();
    fs::set_permissions(&shared, std::fs::Permissions::from_mode(0o777)).unwrap();
    let error = world.start_with(&starter).unwrap_err();
    fs::remove_file(&last).unwrap();
    assert!(matches!(error, ServiceError::NoSocket { .. }), "{error}");
    assert!(
        error.to_string().contains("every user may write to it"),
        "{error}"
    );
}

#[test]
fn refuses_a_directory_that_others_can_write_to() {
    let world = World::with_fake("exit 1");
    let directory = world.daemons().directory;
    fs::create_dir_all(&directory).unwrap();
    fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o777)).unwrap();
    let error = world.start_with(&world.starter()).unwrap_err();
    assert_eq!(error.code().as_str(), "KTX_ROOT_UNSAFE");
}
